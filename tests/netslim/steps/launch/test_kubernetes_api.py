"""A TrainJob from its creation to its end, with an API that refuses, fails and loses answers."""

from __future__ import annotations

from typing import Any

import pytest

from netslim.errors import PipelineError
from netslim.steps.launch import kubernetes_api
from netslim.steps.launch.kubernetes_api import Cluster, FailedError
from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes


def job(pod: dict[str, Any], program: str) -> dict[str, Any]:
    return trainjob_manifest(
        "netslim-job", pod, NodeRequest(2, 0, {"cpu": "1"}), ["python3", "-c", program], {}
    )


def connect(lines: list[str]) -> Cluster:
    return Cluster(NAMESPACE, every=0.05, report=lines.append)


@pytest.fixture(autouse=True)
def settings(cluster: Kubernetes) -> None:
    keys = dict.fromkeys(("endpoint", "id", "secret"), "")
    cluster.settings.update(settings=keys, keys=keys)


def test_a_trainjob_is_waited_for(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    lines: list[str] = []
    connect(lines).run(job(pod, "import time; time.sleep(0.3)"))
    assert lines == ["TrainJob netslim-job: running", "TrainJob netslim-job: complete"]


def test_a_failure_is_raised(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    with pytest.raises(FailedError, match=r"netslim-job failed \(exit codes .*3.*logs of its nodes"):
        connect([]).run(job(pod, "raise SystemExit(3)"))


def test_a_request_is_repeated_while_the_cluster_is_busy(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    cluster.faults += [503, 429, 500]
    connect([]).run(job(pod, "pass"))
    assert cluster.faults == []


def test_requests_are_repeated_for_a_limited_time(
    cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "PATIENCE", 0.2)
    cluster.faults += [503] * 1000
    with pytest.raises(PipelineError, match=r"cannot read the step's own pod: etcd has a bad day \(503\)"):
        connect([]).pod("x")


def test_a_lost_answer_to_the_creation_is_no_failure(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    wanted = job(pod, "pass")
    cluster.answer("POST", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs", wanted)
    connect([]).run(wanted)
    assert len(cluster.asked) == 1


def test_a_trainjob_of_an_earlier_try_is_removed(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    wanted = job(pod, "import time; time.sleep(600)")
    cluster.answer("POST", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs", wanted)
    nodes = cluster.jobs["netslim-job"].nodes
    connect([]).remove("netslim-job")
    assert cluster.jobs == {}
    assert all(node.poll() is not None for node in nodes)
    connect([]).remove("netslim-job")


@pytest.mark.parametrize(
    ("status", "message", "text"),
    [
        (403, "trainjobs is forbidden", r"TrainJob: trainjobs is forbidden \(403\).*manifests/trainer"),
        (404, "no such resource", r"TrainJob: no such resource \(404\).*Install Kubeflow Trainer"),
        (422, "runtimeRef: no such runtime", r"runtimeRef: no such runtime \(422\)\.$"),
    ],
)  # fmt: skip
def test_a_refusal_contains_a_remedy(
    cluster: Kubernetes, pod: dict[str, Any], status: int, message: str, text: str
) -> None:
    cluster.refuses = (status, message)
    with pytest.raises(PipelineError, match=text):
        connect([]).run(job(pod, "pass"))


def test_outside_a_cluster_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(PipelineError, match=r"does not run in a Kubernetes cluster.*needs a cluster"):
        Cluster(NAMESPACE)
