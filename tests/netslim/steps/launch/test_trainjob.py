"""A training on two nodes of a TrainJob: real processes, torchrun and a real S3 API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from netslim.errors import DataError
from netslim.models import artifact
from netslim.steps.launch import trainjob
from netslim.steps.launch.kubernetes_api import Cluster, FailedError
from netslim.steps.launch.trainjob import NODES, POD
from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest
from netslim.steps.step_record import read_step_records
from netslim.steps.train import train_step
from netslim.storage import s3
from netslim.storage.backends import CHECKPOINTS
from netslim.tracking.destination import KEY
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes
from tests.helpers.training_step import training_request

SCRIPT = """
import json, sys
from kubernetes import config
config.KUBE_CONFIG_DEFAULT_LOCATION = config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = sys.argv[1]
from netslim.steps.train import train_step
from netslim.steps.training_request import TrainingRequest
train_step(TrainingRequest.from_json(json.loads(sys.argv[2])))
"""


@pytest.fixture
def place(bucket: str, cluster: Kubernetes, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket's folder for checkpoints, in the environment of a step's pod with two nodes."""
    own = {"id": os.environ["AWS_ACCESS_KEY_ID"], "secret": os.environ["AWS_SECRET_ACCESS_KEY"]}
    cluster.settings.update(settings={"endpoint": os.environ["AWS_ENDPOINT_URL"]}, keys=own)
    monkeypatch.setattr(trainjob, "Cluster", lambda namespace: Cluster(namespace, every=0.2))
    monkeypatch.setenv(NODES, NodeRequest(2, 0, {"cpu": "1", "memory": "2Gi"}).to_json())
    monkeypatch.setenv(POD, pod["metadata"]["name"])
    monkeypatch.setenv(trainjob.NAMESPACE, NAMESPACE)
    monkeypatch.setenv(CHECKPOINTS, f"s3://{bucket}/kept")
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    return f"s3://{bucket}/kept"


def training(progress: Path) -> bool:
    """Whether the node has trained some steps; before that it downloads its inputs."""
    events = map(json.loads, progress.read_text().splitlines()) if progress.exists() else ()
    return any(event.get("title") == "training" and event["done"] > 2 for event in events)


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_two_nodes_train_as_one_process_does_after_a_node_is_lost(
    dataset: Path, place: str, cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second node is killed during training; the cluster restarts both, from the last checkpoint."""
    request = training_request(dataset, tmp_path / "two" / "model", epochs=6)
    log = tmp_path / "step.log"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(cluster.kubeconfig), json.dumps(request.to_json())],
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    ) as step:
        until(lambda: bool(cluster.jobs), "no TrainJob was asked for")
        (job,) = cluster.jobs.values()
        until(lambda: training(tmp_path / "progress-0"), "training did not begin")
        job.nodes[1].send_signal(signal.SIGTERM)
        assert step.wait(120) == 0, log.read_text()
    assert job.starts == 2
    assert "complete" in log.read_text()
    for variable in (NODES, CHECKPOINTS):
        monkeypatch.delenv(variable)
    train_step(replace(request, model=str(tmp_path / "one" / "model")))
    two, one = (read_step_records(tmp_path / name / "model").train for name in ("two", "one"))
    assert two is not None
    assert one is not None
    assert two.metrics.resumed_at > 0
    losses = [[row["train/loss"] for row in record.history] for record in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    weights = [artifact.load_model(tmp_path / name / "model").model.state_dict() for name in ("two", "one")]
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, rtol=5e-2, atol=5e-3)
    left = s3.names(place)
    assert left, "checkpoints stay"
    assert not any(name.startswith("nodes/") for name in left), "inputs and results are deleted"


def test_a_user_error_of_a_node_is_raised_here_and_not_retried(
    dataset: Path, place: str, cluster: Kubernetes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in dataset.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError) as there:
        train_step(training_request(broken, tmp_path / "model"))
    assert "dataset" in str(there.value)
    (job,) = cluster.jobs.values()
    assert job.starts == 1
    assert not (tmp_path / "model").exists()


def test_nodes_that_end_without_an_error_are_reported(
    dataset: Path, place: str, cluster: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> dict[str, Any]:
        job = trainjob_manifest(*arguments)
        job["spec"]["trainer"]["command"] = ["python3", "-c", "import os; os.abort()"]
        return job

    monkeypatch.setattr(trainjob, "trainjob_manifest", killed)
    with pytest.raises(FailedError, match=r"exit codes \[-6"):
        train_step(training_request(dataset, tmp_path / "model"))


def test_sigterm_ends_the_nodes_and_leaves_a_checkpoint(
    dataset: Path, place: str, cluster: Kubernetes, tmp_path: Path
) -> None:
    request = training_request(dataset, tmp_path / "model", epochs=400)
    command = [sys.executable, "-c", SCRIPT, str(cluster.kubeconfig), json.dumps(request.to_json())]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as step:
        until(lambda: bool(cluster.jobs), "no TrainJob was asked for")
        until(lambda: training(tmp_path / "progress-0"), "training did not begin")
        step.send_signal(signal.SIGTERM)
        assert step.wait(120) == 128 + signal.SIGTERM
    assert len(cluster.deleted) == 1
    assert any("step-" in name for name in s3.names(place))
    assert not (tmp_path / "model").exists()


def test_all_tries_of_a_step_have_one_name_and_no_other_step_has_it(dataset: Path, tmp_path: Path) -> None:
    def name(**changes: Any) -> str:
        return trainjob._name(replace(training_request(dataset, tmp_path), **changes))

    assert name() == name(model="another try")
    names = {
        name(),
        name(stage="fine_tune"),
        name(seed=4),
        name(pass_index=1),
        name(recipe_overrides={"lam": 1e-3}),
    }
    assert len(names) == 5
    assert all(len(each) < 50 and each == each.lower() and "_" not in each for each in names)
