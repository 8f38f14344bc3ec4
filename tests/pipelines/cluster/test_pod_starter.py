"""Pods from their creation to their deletion, with an API that refuses, fails and is interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cluster.image_pods import LABEL, ImagePod
from netslim_kfp.pipelines.cluster.pod_outcome import Outcome
from netslim_kfp.pipelines.cluster.pod_starter import PodStarter
from tests.helpers.kubernetes_server import NAMESPACE, Kubernetes, serving

IMAGES = [ImagePod(f"r/netslim-{name}:1", {"cpu": "1", "memory": "2Gi"}, {}) for name in ("data", "train")]
DATA, TRAIN = (each.image for each in IMAGES)
PENDING = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}


def ended(code: int, message: str = "") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "message": message, "reason": "Error" if code else "Completed"}}
    status = {
        "name": "main", "state": state, "image": "i", "imageID": "", "ready": False, "restartCount": 0
    }  # fmt: skip
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [status]}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    with serving(tmp_path) as kubernetes:
        for module in ("kubernetes.config", "kubernetes.config.kube_config"):
            monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(kubernetes.kubeconfig))
        kubernetes.pods.statuses = {DATA: [PENDING, ended(0)], TRAIN: [PENDING, PENDING, ended(0)]}
        yield kubernetes


def start(left: list[str] | None = None, *, timeout: int = 30) -> list[Outcome]:
    starter = PodStarter(NAMESPACE, timeout=timeout, every=0.02)
    return starter.start(IMAGES, "runner", [] if left is None else left)


def test_pods_are_created_at_once_and_deleted_when_they_have_ended(cluster: Kubernetes) -> None:
    assert [outcome.passed for outcome in start()] == [True, True]
    assert [pod["spec"]["containers"][0]["image"] for pod in cluster.pods.created] == [DATA, TRAIN]
    assert {pod["spec"]["serviceAccountName"] for pod in cluster.pods.created} == {"runner"}
    assert len({pod["metadata"]["labels"][LABEL] for pod in cluster.pods.created}) == 1
    assert all(pod["spec"]["activeDeadlineSeconds"] > 30 for pod in cluster.pods.created)
    assert cluster.pods.held == {}


def test_each_image_has_its_own_outcome(cluster: Kubernetes) -> None:
    cluster.pods.statuses[DATA] = [PENDING, ended(1, "Traceback\nOSError: no space\n")]
    failed, good = start()
    assert failed == Outcome(False, "ended with exit code 1: OSError: no space")
    assert good.passed


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, 'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi'),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities'),
        (403, 'pods "x" is forbidden: error looking up service account team/runner: not found'),
        (400, 'admission webhook "policy.example" denied the request: no registry of ours'),
        (500, 'Internal error occurred: failed calling webhook "kueue": connection refused'),
    ],
)
def test_what_the_admission_refuses_is_the_outcome_of_that_image(
    cluster: Kubernetes, status: int, message: str
) -> None:
    cluster.pods.policies[DATA] = (status, message)
    refused, good = start()
    assert refused == Outcome(False, f"is refused ({status}): {message}.")
    assert good.passed
    assert cluster.pods.held == {}


@pytest.mark.parametrize("verb", ["list", "create", "delete"])
def test_a_missing_permission_is_named_and_no_pod_is_left(cluster: Kubernetes, verb: str) -> None:
    cluster.pods.forbidden = {verb}
    with pytest.raises(PipelineError, match=rf"you may not {verb} pods in team \(403\)\. Ask for the right"):
        start()
    assert cluster.pods.held == {}
    assert cluster.pods.created == []


def test_when_the_time_is_over_pods_are_deleted(cluster: Kubernetes) -> None:
    cluster.pods.statuses[TRAIN] = [PENDING]
    good, slow = start(timeout=1)
    assert good.passed
    assert slow.text.startswith("was still being pulled after 1 s")
    assert cluster.pods.held == {}


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_an_interrupted_check_deletes_its_pods(
    cluster: Kubernetes, number: int, raised: type[BaseException]
) -> None:
    cluster.pods.statuses[TRAIN] = [PENDING]
    before = signal.getsignal(signal.SIGTERM)
    cluster.pods.at_look = [lambda: os.kill(os.getpid(), number)]
    with pytest.raises(raised):
        start()
    assert len(cluster.pods.created) == 2
    assert cluster.pods.held == {}
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_api_that_is_busy_does_not_end_the_waiting(cluster: Kubernetes) -> None:
    cluster.pods.at_look = [lambda: cluster.faults.extend([503, 500, 503])]
    assert [outcome.passed for outcome in start()] == [True, True]
    assert cluster.faults == []


def test_pods_that_cannot_be_deleted_are_named(cluster: Kubernetes) -> None:
    left: list[str] = []
    cluster.pods.at_look = [lambda: cluster.pods.forbidden.add("delete")]
    assert [outcome.passed for outcome in start(left)] == [True, True]
    assert left == list(cluster.pods.held)
    assert len(left) == 2


def test_pods_that_share_a_quota_are_started_one_after_the_other(cluster: Kubernetes) -> None:
    cluster.pods.quota = 1
    assert [outcome.passed for outcome in start()] == [True, True]
    assert len(cluster.pods.created) == 2


def test_a_pod_above_the_quota_is_refused(cluster: Kubernetes) -> None:
    cluster.pods.quota = 0
    for refused in start():
        assert "exceeded quota: team" in refused.text
        assert not refused.passed


def test_a_pod_that_somebody_deletes_is_not_judged(cluster: Kubernetes) -> None:
    cluster.pods.statuses[TRAIN] = [PENDING]
    cluster.pods.at_look = [lambda: None, cluster.pods.held.clear]
    assert start()[1] == Outcome(False, "was not checked: somebody else deleted its pod")


@pytest.mark.parametrize(("hours", "is_left"), [(0.5, True), (2, False)])
def test_old_pods_of_killed_checks_are_deleted(cluster: Kubernetes, hours: float, is_left: bool) -> None:
    created = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    spec = {"activeDeadlineSeconds": 240, "containers": [{"name": "main", "image": "old"}]}
    for name, labels in (("ours", {LABEL: "before"}), ("theirs", {"app": "web"})):
        metadata = {"name": name, "labels": labels, "creationTimestamp": created}
        cluster.pods.held[name] = {"metadata": metadata, "spec": spec}
    start()
    assert set(cluster.pods.held) == ({"ours", "theirs"} if is_left else {"theirs"})


def test_without_a_cluster_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("kubernetes.config", "kubernetes.config.kube_config"):
        monkeypatch.setattr(f"{module}.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(PipelineError, match="kubectl has no cluster to connect to"):
        PodStarter(NAMESPACE, timeout=1)
