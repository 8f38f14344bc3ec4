"""One training on several nodes of a cluster, as a TrainJob whose inputs and results go through a bucket.

The step's pod calls `run_as_trainjob`. Each node runs
`python -m netslim.steps.launch.trainjob s3://FOLDER`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from netslim.errors import NetslimError, StorageError
from netslim.steps.gpu_check import EXPECTED, promised
from netslim.steps.launch.kubernetes_api import Cluster, FailedError
from netslim.steps.launch.torchrun import REQUEST, RESULT, run_on_node
from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.training_request import TrainingRequest
from netslim.storage import s3
from netslim.storage.atomic import atomic_directory, read_json
from netslim.storage.backends import CHECKPOINTS
from netslim.tracking.destination import KEY, run_key

__all__ = ["NAMESPACE", "NODES", "POD", "main", "run_as_trainjob"]

NODES = "NETSLIM_NODES"
"""The environment variable with the `NodeRequest` of a training as JSON; empty for a training in this pod."""
POD, NAMESPACE = "NETSLIM_POD", "NETSLIM_NAMESPACE"
INPUTS, MODEL = ("dataset", "start", "teacher"), "model"
FAILED = "failed-"  # start of the name of a node's error file; the number of the node follows


def run_as_trainjob(request: TrainingRequest) -> TrainMetrics:
    """Run `run_training` in a TrainJob, on the nodes that the variable NODES names.

    Afterwards the model artifact is in the folder `request.model` of this pod.

    Raises:
        NetslimError: the error of a node.
        PipelineError: the cluster refused, or a node ended without an error.
        StorageError: the bucket cannot be used.
    """
    nodes, cluster = NodeRequest.from_json(os.environ[NODES]), Cluster(os.environ[NAMESPACE])
    name = _name(request)
    folder = f"{os.environ[CHECKPOINTS].rstrip('/')}/nodes/{name}"
    cluster.remove(name)  # of an earlier try of this step
    _upload_inputs(request, folder)
    environment = {CHECKPOINTS: os.environ[CHECKPOINTS], KEY: run_key() or ""}
    if nodes.gpus:
        environment[EXPECTED] = str(nodes.gpus)
    command = ["python3", "-m", "netslim.steps.launch.trainjob", folder]
    try:
        cluster.run(trainjob_manifest(name, cluster.pod(os.environ[POD]), nodes, command, environment))
    except FailedError:
        for file in sorted(s3.names(folder)):
            if file.startswith(FAILED):
                raise NetslimError.from_json(json.loads(s3.get_bytes(f"{folder}/{file}"))) from None
        raise
    with atomic_directory(request.model) as model:
        s3.download_tree(f"{folder}/{MODEL}", model)
    metrics = TrainMetrics.from_json(json.loads(s3.get_bytes(f"{folder}/{RESULT}")))
    s3.delete_tree(folder)
    return metrics


def main(folder: str) -> int:
    """The work of one node: download the inputs, train, upload the model, return the exit code.

    Only the node with rank 0 uploads a model. A node that fails uploads its error.
    """
    try:
        with TemporaryDirectory() as scratch:
            s3.download_tree(folder, scratch, only=lambda name: name.startswith((REQUEST, *INPUTS)))
            sent = read_json(Path(scratch, REQUEST))
            model = Path(scratch, MODEL)
            request = TrainingRequest.from_json(
                {
                    **sent,
                    **{role: str(Path(scratch, role)) for role in INPUTS if sent[role] is not None},
                    MODEL: str(model),
                }
            )
            metrics = run_on_node(max(1, promised()), request)
            if metrics is not None:
                s3.upload_tree(model, f"{folder}/{MODEL}")
                s3.put_bytes(f"{folder}/{RESULT}", json.dumps(metrics.to_json()).encode())
    except NetslimError as error:
        print(f"netslim: {error}", file=sys.stderr, flush=True)
        with suppress(StorageError):  # the bucket itself may be what failed
            file = f"{FAILED}{os.environ['PET_NODE_RANK']}.json"
            s3.put_bytes(f"{folder}/{file}", json.dumps(error.to_json()).encode())
        return error.exit_code
    return 0


def _name(request: TrainingRequest) -> str:
    """The name of the step's TrainJob: the same in each try of the step, different from any other step's."""
    arguments = {key: value for key, value in request.to_json().items() if key != MODEL}
    text = json.dumps([run_key(), arguments], sort_keys=True)
    stage = request.stage.replace("_", "-")
    return f"netslim-{stage}-{request.pass_index}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _upload_inputs(request: TrainingRequest, folder: str) -> None:
    s3.delete_tree(folder)  # of an earlier try
    for role in INPUTS:
        if (artifact := getattr(request, role)) is not None:
            s3.upload_tree(artifact, f"{folder}/{role}")
    s3.put_bytes(f"{folder}/{REQUEST}", json.dumps(request.to_json()).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
