"""What a pod's status says, in one sentence. The statuses are as Kubernetes 1.30 to 1.34 writes them."""

from __future__ import annotations

from typing import Any

import pytest

from netslim import __version__
from netslim_kfp.pipelines.cluster.pod_outcome import Outcome, outcome, unfinished

REGISTRY = (
    'failed to pull and unpack image "r.example/netslim-train:0.1.0": failed to resolve reference: '
    "pull access denied, repository does not exist or may require authorization"
)
ROOT = "container has runAsNonRoot and image will run as root"
NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: No victims found."


def pod(phase: str, *, state: dict[str, Any] | None = None, node: str = "", **status: Any) -> dict[str, Any]:
    containers = [{"name": "istio-proxy", "state": {"running": {}}}, {"name": "main", "state": state}]
    if state is not None:
        status["containerStatuses"] = containers
    return {"spec": {"nodeName": node}, "status": {"phase": phase, **status}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod("Pending", state={"waiting": {"reason": reason, "message": message}}, conditions=[PLACED])


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "message": message, "reason": reason}}
    return pod("Failed" if code else "Succeeded", state=state, node="gpu-1")


PLACED = {"type": "PodScheduled", "status": "True"}
UNPLACED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_GPU}

FINAL = {
    "it ended well": (ended(0), True, f"starts, with netslim {__version__}, on node gpu-1"),
    "another version": (
        ended(64, "netslim 0.0.9\n"),
        False,
        f"has netslim 0.0.9, and this is {__version__}: build and push the images of this version, "
        "with a new NETSLIM_IMAGE_TAG",
    ),
    "an exception": (
        ended(1, "Traceback:\n  ...\nModuleNotFoundError: No module named 'netslim'\n"),
        False,
        "ended with exit code 1: ModuleNotFoundError: No module named 'netslim'",
    ),
    "no output": (ended(3), False, "ended with exit code 3: its log is empty"),
    "no python": (
        ended(128, 'exec: "python3": executable file not found in $PATH', "StartError"),
        False,
        'ended with exit code 128, StartError: exec: "python3": executable file not found in $PATH',
    ),
    "out of memory": (
        ended(137, "", "OOMKilled"),
        False,
        "ended with exit code 137, OOMKilled: its log is empty",
    ),
    "no access to the image": (
        waiting("ErrImagePull", REGISTRY),
        False,
        f"cannot be pulled: {REGISTRY}: check NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG, and "
        "image_pull_secrets in the profiles",
    ),
    "a back-off with the cause": (
        waiting("ImagePullBackOff", f'Back-off pulling image "r": ErrImagePull: {REGISTRY}'),
        False,
        f'cannot be pulled: Back-off pulling image "r": ErrImagePull: {REGISTRY}: check NETSLIM_REGISTRY '
        "and NETSLIM_IMAGE_TAG, and image_pull_secrets in the profiles",
    ),
    "an image that runs as root": (
        waiting("CreateContainerConfigError", ROOT),
        False,
        f"cannot be started: CreateContainerConfigError: {ROOT}",
    ),
    "evicted": (
        pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        False,
        "does not run: Evicted The node was low on resource: memory.",
    ),
}


@pytest.mark.parametrize("case", FINAL)
def test_a_pod_that_ended_or_never_will(case: str) -> None:
    status, passed, text = FINAL[case]
    assert outcome(status) == Outcome(passed, text)


OPEN = {
    "no node": (
        pod("Pending", conditions=[UNPLACED]),
        f"got no node within 180 s: {NO_GPU[:-1]}: wait for a free node, or change the resources, "
        "node_selector or tolerations in the profiles",
    ),
    "no scheduler": (
        pod("Pending"),
        "got no node within 180 s: no scheduler has looked at its pod: wait for a free node, or change the "
        "resources, node_selector or tolerations in the profiles",
    ),
    "a slow pull": (
        waiting("ContainerCreating"),
        "was still being pulled after 180 s, or its pod prepared: try again with a longer --start-timeout",
    ),
    "a hanging program": (
        pod("Running", state={"running": {"startedAt": "2026-11-30T06:00:00Z"}}, conditions=[PLACED]),
        "started, but did not end within 180 s: try again with a longer --start-timeout",
    ),
    "a back-off without the cause": (
        waiting("ImagePullBackOff", 'Back-off pulling image "r"'),
        'cannot be pulled: Back-off pulling image "r": check NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG, and '
        "image_pull_secrets in the profiles",
    ),
}


@pytest.mark.parametrize("case", OPEN)
def test_a_pod_that_may_still_end_well(case: str) -> None:
    status, text = OPEN[case]
    assert outcome(status) is None
    assert unfinished(status, 180) == Outcome(False, text)


def test_a_pod_that_nobody_has_looked_at_is_open() -> None:
    assert outcome({"spec": {}}) is None
    assert "no scheduler" in unfinished({"spec": {}, "status": None}, 5).text


def test_a_long_message_is_one_line_of_limited_length() -> None:
    found = outcome(waiting("ErrImagePull", "first\n  second " + "x" * 5000))
    assert found is not None
    assert "first second x" in found.text
    assert len(found.text) < 600
