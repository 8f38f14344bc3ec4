"""Steps from the Workflows that a real backend had."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from netslim_kfp.components.argo.workflow import Step, steps_of
from tests.helpers.kfp_samples import at, moments, sample


def steps(name: str) -> dict[str, Step]:
    return {step.task: step for step in steps_of(sample(name)["workflow"])}


def test_every_step_of_two_passes_is_there_and_five_came_from_the_cache() -> None:
    found = steps("succeeded-two-passes")
    cached = {"prepare-data", "train-sparse", "train-sparse-2", "prune", "export-onnx"}
    ran = {"evaluate", "fine-tune", "export-onnx-2", "evaluate-2", "finish"}
    ran |= {f"{name}" for name in ("train-sparse-3", "prune-2", "fine-tune-2", "export-onnx-3", "evaluate-3")}
    assert {name for name, step in found.items() if step.state == "cached"} == cached
    assert {name for name, step in found.items() if step.state == "succeeded"} == ran
    assert all(bool(step.pod) == (name in ran) for name, step in found.items())
    assert list(found)[-1] == "finish"


def test_a_pod_has_the_name_under_which_argo_kept_its_log() -> None:
    """The Workflow's `main-logs` of this step are at private-artifacts/.../<pod>/main.log."""
    pod = steps("succeeded-two-passes")["export-onnx-3"].pod
    assert pod == "network-slimming-4n9fv-metadata-0-1-system-container-impl-3812059262"


@pytest.mark.parametrize(
    ("name", "failed", "message", "seconds"),
    [
        ("out-of-memory", "train-sparse", "main: OOMKilled (exit code 1)", 10),
        ("timed-out", "train-sparse", "Pod was active on the node longer than the specified deadline", 17),
        ("canceled", "train-sparse", "main: Error (exit code 143)", 70),
        ("user-mistake", "prepare-data", "main: Error (exit code 1)", 7),
    ],
)
def test_the_step_that_failed_has_its_message_and_its_time(
    name: str, failed: str, message: str, seconds: float
) -> None:
    found = steps(name)
    (step,) = [step for step in found.values() if step.state == "failed"]
    assert (step.task, step.message, step.seconds) == (failed, message, seconds)
    assert found["finish"].state == "succeeded"
    assert "prune" not in found  # left out


def test_a_pod_without_a_node_waits_with_the_reason() -> None:
    workflow = at(sample("unschedulable")["workflow"], "22:25:40Z")
    (node,) = [
        n for n in workflow["status"]["nodes"].values() if n["name"].endswith("train-sparse(0).executor(0)")
    ]
    reason = "Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    node |= {"phase": "Pending", "message": reason}  # as the backend gave it before the run was canceled
    found = {step.task: step for step in steps_of(workflow)}
    assert (found["train-sparse"].state, found["train-sparse"].message) == ("waiting", reason)


def test_a_driver_is_reported_while_it_waits_and_when_it_failed() -> None:
    found = {step.key for step in steps_of(sample("unschedulable")["workflow"]) if step.driver}
    assert found == {("finish", None, True)}
    workflow = sample("user-mistake")["workflow"]
    for node in workflow["status"]["nodes"].values():
        if node["displayName"].startswith("exit-handler-1-driver"):
            node |= {"phase": "Failed", "message": "type mismatch: expect STRUCT, got string"}
    (driver,) = [step for step in steps_of(workflow) if step.driver]
    assert (driver.task, driver.state) == ("exit-handler-1", "failed")
    assert "expect STRUCT" in driver.message


def test_a_step_only_ever_goes_forward() -> None:
    workflow = sample("out-of-memory")["workflow"]
    order = ("waiting", "running", "succeeded", "failed")
    seen: dict[str, list[str]] = {}
    for moment in moments(workflow):
        for step in steps_of(at(workflow, moment)):
            seen.setdefault(step.task, []).append(step.state)
    assert seen["prepare-data"][-1] == "succeeded"
    assert seen["train-sparse"][-1] == "failed"
    for states in seen.values():
        assert [order.index(state) for state in states] == sorted(order.index(state) for state in states)


def test_nodes_that_argo_packed_are_read_too() -> None:
    workflow = sample("succeeded-two-passes")["workflow"]
    plain = steps_of(workflow)
    nodes = json.dumps(workflow["status"].pop("nodes")).encode()
    workflow["status"]["compressedNodes"] = base64.b64encode(gzip.compress(nodes)).decode()
    assert steps_of(workflow) == plain


def test_the_points_of_a_loop_are_steps_of_their_own() -> None:
    def node(name: str, kind: str, phase: str) -> dict[str, Any]:
        started = "2026-11-27T21:00:00Z"
        return {"id": name, "name": name, "type": kind, "phase": phase, "startedAt": started}

    nodes = []
    for point, phase in ((0, "Succeeded"), (1, "Running")):
        loop = f"wf(0).root(0).for-loop-1(0).for-loop-1(0)({point}:{point})"
        nodes += [node(f"{loop}.prune", "Retry", phase), node(f"{loop}.prune(0)", "DAG", phase)]
        nodes += [node(f"{loop}.prune(0).executor", "Retry", phase)]
        nodes += [node(f"{loop}.prune(0).executor(0)", "Pod", phase)]
    found = steps_of({"status": {"nodes": {each["id"]: each for each in nodes}}})
    assert [(step.task, step.iteration, step.state) for step in found] == [
        ("prune", 0, "succeeded"),
        ("prune", 1, "running"),
    ]


def test_before_argo_has_seen_the_run_there_are_no_steps() -> None:
    assert steps_of({}) == []
    assert steps_of({"status": {"phase": "", "nodes": None}}) == []
