"""One training in several processes of this container, one process per GPU, started by torchrun.

torchrun runs `python -m netslim.steps.launch.torchrun FOLDER` in each process. The request is read from
FOLDER/request.json; rank 0 writes the metrics to FOLDER/result.json; an error goes to FOLDER/failure.json.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from netslim import child_process, progress
from netslim.errors import NetslimError, PipelineError
from netslim.steps.gpu_check import check_gpus
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.training_request import TrainingRequest
from netslim.storage.atomic import read_json, write_json
from netslim.training.signals import stop_on_sigterm

__all__ = ["main", "run_on_node", "run_with_torchrun"]

REQUEST, RESULT, FAILURE = "request.json", "result.json", "failure.json"
NODES_OF_TRAINER = "PET_NNODES"  # set by Kubeflow Trainer; torchrun reads it and other PET_ variables
POLL = 0.2  # seconds between two checks for SIGTERM


def run_with_torchrun(count: int, request: TrainingRequest) -> TrainMetrics:
    """Run `run_training` in `count` processes of this container that train together.

    SIGTERM is passed on, so that the processes write a checkpoint, and is then obeyed here.

    Raises:
        NetslimError: the error of one of the processes.
        PipelineError: a process ended without an error, for example because memory ran out.
    """
    metrics = run_on_node(count, request)
    assert metrics is not None  # rank 0 is one of these processes
    return metrics


def run_on_node(count: int, request: TrainingRequest) -> TrainMetrics | None:
    """Run the `count` processes of this node, which train with those of the other nodes, if there are any.

    Kubeflow Trainer's variables say where the other nodes are. Without them this is the only node.

    Returns:
        The metrics on the node with rank 0, None on any other node.

    Raises:
        NetslimError, PipelineError: as `run_with_torchrun`.
    """
    with TemporaryDirectory() as folder:
        write_json(Path(folder, REQUEST), request.to_json())
        torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}"]
        if NODES_OF_TRAINER not in os.environ:
            torchrun += ["--standalone", "--local-addr=127.0.0.1"]
        threads = max(1, (os.cpu_count() or 1) // count)
        code = _run(
            [*torchrun, "--module", "netslim.steps.launch.torchrun", folder],
            environment={"OMP_NUM_THREADS": str(threads), **os.environ},
        )
        if code != 0:
            raise _failure(Path(folder, FAILURE), code)
        result = Path(folder, RESULT)
        return TrainMetrics.from_json(read_json(result)) if result.exists() else None


def main(folder: str) -> int:
    """The work of one process: train, write the metrics or the error into `folder`, return the exit code."""
    from netslim.steps.run_training import (
        run_training,  # loads torch, which the starting process does not need
    )
    from netslim.training import distributed

    child_process.end_with_parent()  # torchrun's processes inherit its standard input
    child_process.exit_quickly()
    if os.environ["RANK"] != "0":
        os.environ.pop(progress.ENVIRONMENT, None)  # only rank 0 draws a progress bar
    try:
        check_gpus()
        with distributed.process_group():
            metrics = run_training(TrainingRequest.from_json(read_json(Path(folder, REQUEST))))
            if distributed.rank() == 0:
                write_json(Path(folder, RESULT), metrics.to_json())
    except NetslimError as error:  # all processes raise the same error, so it does not matter who writes last
        write_json(Path(folder, FAILURE), error.to_json())
        return error.exit_code
    return 0


def _run(command: list[str], *, environment: dict[str, str]) -> int:
    """Run `command`, pass SIGTERM on to it, and return its exit code."""
    ends_with_this = {**environment, child_process.ENVIRONMENT: "1"}
    with (
        stop_on_sigterm() as stop,
        subprocess.Popen(command, env=ends_with_this, stdin=subprocess.PIPE) as workers,
    ):
        while True:
            try:
                return workers.wait(timeout=POLL)
            except subprocess.TimeoutExpired:
                if stop.requested:
                    workers.terminate()
                    workers.wait()
                    stop.obey()


def _failure(file: Path, code: int) -> NetslimError:
    if file.exists():
        return NetslimError.from_json(read_json(file))
    remedy = "Read the log above; a process that was killed may need more memory"
    return PipelineError(f"a training process ended without an error (exit code {code})", remedy=remedy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
