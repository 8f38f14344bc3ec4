"""A training step's work on several nodes of a cluster: what it takes and what it gives go through a bucket.

The step's pod calls `run_as_trainjob`; each node runs: python -m netslim.steps.launch.trainjob s3://FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from netslim.errors import NetslimError, StorageError
from netslim.steps.gpu_check import EXPECTED, promised
from netslim.steps.launch.kubernetes_api import Cluster, FailedError
from netslim.steps.launch.torchrun import REQUEST, RESULT, raised, run_with_torchrun, told
from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest
from netslim.storage import s3
from netslim.storage.atomic import atomic_directory
from netslim.storage.backends import CHECKPOINTS
from netslim.tracking.destination import KEY, run_key

__all__ = ["NAMESPACE", "NODES", "POD", "main", "run_as_trainjob"]

NODES = "NETSLIM_NODES"
"""The environment variable with the `NodeRequest` that a training shall have, as JSON; empty for this pod
alone."""
POD, NAMESPACE = "NETSLIM_POD", "NETSLIM_NAMESPACE"
INPUTS, MODEL = ("dataset", "start", "teacher"), "model"
FAILED = "failed-"  # and the number of the node


def run_as_trainjob(arguments: Mapping[str, Any]) -> dict[str, float]:
    """Call `netslim.steps.train.train_step` in a TrainJob, on the nodes that NODES names.

    Args:
        arguments: train_step's, by name; text, numbers, paths, and mappings of these.

    Returns:
        What it returned. The model lies where `arguments` want it.

    Raises:
        NetslimError: what a node raised, with the class and the message that it had.
        PipelineError: the cluster refused, or a node ended without a word.
        StorageError: the bucket cannot be used.
    """
    wish, cluster = NodeRequest.from_json(os.environ[NODES]), Cluster(os.environ[NAMESPACE])
    name = _name(arguments)
    folder = f"{os.environ[CHECKPOINTS].rstrip('/')}/nodes/{name}"
    cluster.remove(name)  # what an earlier try of this step has left
    _hand_over(arguments, folder)
    known = {CHECKPOINTS: os.environ[CHECKPOINTS], KEY: run_key() or ""}
    known |= {EXPECTED: str(wish.gpus)} if wish.gpus else {}
    command = ["python3", "-m", "netslim.steps.launch.trainjob", folder]
    try:
        cluster.run(trainjob_manifest(name, cluster.pod(os.environ[POD]), wish, command, known))
    except FailedError:
        for file in sorted(s3.names(folder)):
            if file.startswith(FAILED):
                raise raised(json.loads(s3.get_bytes(f"{folder}/{file}"))) from None
        raise
    with atomic_directory(arguments[MODEL]) as model:
        s3.download_tree(f"{folder}/{MODEL}", model)
    found: dict[str, float] = json.loads(s3.get_bytes(f"{folder}/{RESULT}"))
    s3.delete_tree(folder)
    return found


def main(folder: str) -> int:
    """One node of several: fetch what the step has handed over, train, and hand back what came of it."""
    try:
        with TemporaryDirectory() as scratch:
            s3.download_tree(folder, scratch, only=lambda name: name.startswith((REQUEST, *INPUTS)))
            arguments = json.loads(Path(scratch, REQUEST).read_text(encoding="utf-8"))
            here = {role: str(Path(scratch, role)) for role in INPUTS if arguments[role]}
            model = Path(scratch, MODEL)
            found = run_with_torchrun(max(1, promised()), {**arguments, **here, MODEL: str(model)})
            if model.exists():  # rank 0 is here
                s3.upload_tree(model, f"{folder}/{MODEL}")
                s3.put_bytes(f"{folder}/{RESULT}", json.dumps(found).encode())
    except NetslimError as error:
        print(f"netslim: {error}", file=sys.stderr, flush=True)
        with suppress(StorageError):  # which may be the error itself
            file = f"{FAILED}{os.environ['PET_NODE_RANK']}.json"
            s3.put_bytes(f"{folder}/{file}", json.dumps(told(error)).encode())
        return error.exit_code
    return 0


def _name(arguments: Mapping[str, Any]) -> str:
    """The same for each try of a step, and no other step's."""
    own = {key: value for key, value in arguments.items() if key != MODEL}
    text = json.dumps([run_key(), own], default=os.fspath, sort_keys=True)
    kind = arguments["stage"].replace("_", "-")
    return f"netslim-{kind}-{arguments['pass_index']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _hand_over(arguments: Mapping[str, Any], folder: str) -> None:
    s3.delete_tree(folder)  # of an earlier try
    for role in INPUTS:
        if arguments[role]:
            s3.upload_tree(arguments[role], f"{folder}/{role}")
    s3.put_bytes(f"{folder}/{REQUEST}", json.dumps(dict(arguments), default=os.fspath).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
