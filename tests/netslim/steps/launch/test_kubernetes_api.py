"""A TrainJob from its creation to its end, against an API that refuses, fails and forgets."""

from __future__ import annotations

from typing import Any

import pytest

from netslim.errors import PipelineError
from netslim.steps.launch import kubernetes_api as room
from netslim.steps.launch.kubernetes_api import Cluster, FailedError
from netslim.steps.launch.trainjob_manifest import NodeRequest, trainjob_manifest
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes


def job(pod: dict[str, Any], program: str) -> dict[str, Any]:
    return trainjob_manifest(
        "netslim-job", pod, NodeRequest(2, 0, {"cpu": "1"}), ["python3", "-c", program], {}
    )


def asker(heard: list[str]) -> Cluster:
    return Cluster(NAMESPACE, every=0.05, told=heard.append)


@pytest.fixture(autouse=True)
def settings(cluster: Kubernetes) -> None:
    keys = dict.fromkeys(("endpoint", "id", "secret"), "")
    cluster.settings.update(settings=keys, keys=keys)


def test_it_is_waited_for(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    heard: list[str] = []
    asker(heard).run(job(pod, "import time; time.sleep(0.3)"))
    assert heard == ["TrainJob netslim-job: running", "TrainJob netslim-job: complete"]


def test_its_failure_is_told(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    with pytest.raises(FailedError, match=r"netslim-job failed \(exit codes .*3.*log of its nodes"):
        asker([]).run(job(pod, "raise SystemExit(3)"))


def test_a_cluster_that_does_not_answer_for_a_while_is_asked_again(
    cluster: Kubernetes, pod: dict[str, Any]
) -> None:
    cluster.faults += [503, 429, 500]
    asker([]).run(job(pod, "pass"))
    assert cluster.faults == []


def test_but_not_for_ever(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATIENCE", 0.2)
    cluster.faults += [503] * 1000
    with pytest.raises(PipelineError, match=r"cannot read the step's own pod: etcd has a bad day \(503\)"):
        asker([]).pod("x")


def test_a_first_answer_that_was_lost_does_no_harm(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    wanted = job(pod, "pass")
    cluster.answer("POST", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs", wanted)
    asker([]).run(wanted)
    assert len(cluster.asked) == 1


def test_one_of_an_earlier_try_is_removed_with_its_nodes(cluster: Kubernetes, pod: dict[str, Any]) -> None:
    wanted = job(pod, "import time; time.sleep(600)")
    cluster.answer("POST", "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs", wanted)
    nodes = cluster.jobs["netslim-job"].nodes
    asker([]).remove("netslim-job")
    assert cluster.jobs == {}
    assert all(node.poll() is not None for node in nodes)
    asker([]).remove("netslim-job")


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (403, "trainjobs is forbidden", r"TrainJob: trainjobs is forbidden \(403\).*manifests/trainer"),
        (404, "no such resource", r"TrainJob: no such resource \(404\).*Install Kubeflow Trainer"),
        (422, "runtimeRef: no such runtime", r"runtimeRef: no such runtime \(422\)\.$"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_remedy(
    cluster: Kubernetes, pod: dict[str, Any], status: int, message: str, says: str
) -> None:
    cluster.refuses = (status, message)
    with pytest.raises(PipelineError, match=says):
        asker([]).run(job(pod, "pass"))


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("kubernetes.config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(
        PipelineError, match=r"no Kubernetes to ask.*Several nodes are for steps on a cluster"
    ):
        Cluster(NAMESPACE)
