"""A training step's work in several processes of its container, a GPU each, started by torchrun.

torchrun runs: python -m netslim.steps.launch.torchrun FOLDER, with the step's arguments in
FOLDER/request.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from netslim import errors, progress
from netslim.errors import NetslimError, PipelineError
from netslim.storage.atomic import read_json, write_json
from netslim.training.signals import stop_on_sigterm

__all__ = ["REQUEST", "RESULT", "main", "raised", "run_with_torchrun", "told"]

REQUEST, RESULT, FAILURE = "request.json", "result.json", "failure.json"
NODES_OF_TRAINER = "PET_NNODES"  # torchrun reads it, and the other PET_ variables beside it
LOOK = 0.2  # seconds between two looks at whether SIGTERM has come


def run_with_torchrun(count: int, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Call `netslim.steps.train.train_step` in `count` processes that train together.

    Where Kubeflow Trainer has started this one of several nodes, they train with those of the others. SIGTERM
    is handed on, so that they leave a checkpoint, and then obeyed.

    Args:
        count: of this node.
        arguments: train_step's, by name; text, numbers, paths, and mappings of these.

    Returns:
        What rank 0 returned; nothing where it is on another node.

    Raises:
        NetslimError: what one of them raised, with the class and the message that it had.
        PipelineError: one of them ended without a word, as when the system runs out of memory.
    """
    with TemporaryDirectory() as folder:
        Path(folder, REQUEST).write_text(json.dumps(arguments, default=os.fspath), encoding="utf-8")
        own = ["--module", "netslim.steps.launch.torchrun", folder]
        torchrun = [sys.executable, "-m", "torch.distributed.run"]
        if NODES_OF_TRAINER not in os.environ:
            torchrun += ["--standalone", "--local-addr=127.0.0.1"]
        threads = max(1, (os.cpu_count() or 1) // count)
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        command = [*torchrun, f"--nproc-per-node={count}", *own]
        with stop_on_sigterm() as stop, subprocess.Popen(command, env=environment) as workers:
            while not _ended(workers):
                if stop.requested:
                    workers.terminate()
                    workers.wait()
                    stop.obey()
        if workers.returncode == 0:
            result = Path(folder, RESULT)
            found: dict[str, float] = read_json(result) if result.exists() else {}
            return found
        raise _failure(Path(folder, FAILURE), workers.returncode)


def main(folder: str) -> int:
    """One process of several: take part in the training, and tell whoever started it how it went."""
    from netslim.steps.gpu_check import check_gpus
    from netslim.steps.train import train_step
    from netslim.training import distributed

    if os.environ["RANK"] != "0":
        os.environ.pop(progress.ENVIRONMENT, None)  # one bar is enough
    try:
        check_gpus()
        with distributed.process_group():
            found = train_step(**read_json(Path(folder, REQUEST)))
            if distributed.rank() == 0:
                write_json(Path(folder, RESULT), found)
    except NetslimError as error:  # all raise the same; the last to write it wins
        write_json(Path(folder, FAILURE), told(error))
        return error.exit_code
    return 0


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=LOOK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _failure(file: Path, code: int) -> NetslimError:
    if not file.exists():
        remedy = "The log above says more; if a process was killed, it may need more memory"
        return PipelineError(f"a training process ended without a word (exit code {code})", remedy=remedy)
    return raised(read_json(file))


def told(error: NetslimError) -> dict[str, str]:
    """An error as JSON, for another process to raise."""
    return {"kind": type(error).__name__, "message": str(error)}


def raised(told: Mapping[str, str]) -> NetslimError:
    """The error of which another process has `told`."""
    kind: type[NetslimError] = getattr(errors, told["kind"])
    return kind(told["message"].rstrip("."))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
