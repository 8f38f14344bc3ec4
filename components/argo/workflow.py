"""The steps of a run as Argo holds them: which one waits, runs, has ended, and with which message.

KFP's tables of tasks have states, but no reasons. The Workflow object, which KFP's API v1beta1 hands out, has
both: a node for each pod, with Argo's or Kubernetes' message. Its nodes are named by their path, such as
`wf(0).root(0).exit-handler-1(0).train-sparse(0).executor(0)`. A number in brackets is a try; `(1:1)` is an
iteration of a loop.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["ENDED", "Step", "steps_of"]

ENDED = ("succeeded", "cached", "failed")
TRY = re.compile(r"\(\d+\)")
ITERATION = re.compile(r"\((\d+):[^()]*\)")
Node = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a run, or KFP's driver of it, which resolves the step's inputs in a pod of its own.

    `task` is its name in the compiled pipeline, which is unique there. `state` is `waiting` (its pod does not
    run yet), `running`, or one of ENDED. `pod` is the newest pod, empty where there was none. `started` and
    `finished` are Unix times of the first pod's node and of the end; 0.0 where there is none yet. `message`
    is what Argo or Kubernetes wrote about it. `tries` counts the pods. `iteration` counts from 0 in a loop.
    """

    task: str
    state: str
    pod: str = ""
    node: str = ""
    started: float = 0.0
    finished: float = 0.0
    message: str = ""
    tries: int = 0
    iteration: int | None = None
    driver: bool = False

    @property
    def key(self) -> tuple[str, int | None, bool]:
        """What stays the same about the step while the run goes on."""
        return self.task, self.iteration, self.driver

    @property
    def seconds(self) -> float:
        """From the first pod to the end; 0.0 before the end."""
        return max(0.0, self.finished - self.started) if self.finished else 0.0


def steps_of(workflow: Mapping[str, Any]) -> list[Step]:
    """The steps that a Workflow object has nodes of, in the order of their start.

    A driver is among them only while its pod waits, or when it failed. A step that the run left out, because
    an earlier one failed or a condition was false, is not among them.
    """
    nodes = _nodes(workflow.get("status", {}))
    groups: dict[tuple[str, int | None], list[Node]] = {}
    for node in nodes.values():
        name = str(node.get("name", ""))
        iterations = ITERATION.findall(name)
        iteration = int(iterations[-1]) if iterations else None
        groups.setdefault((TRY.sub("", ITERATION.sub("", name)), iteration), []).append(node)
    steps = []
    for (path, iteration), outer in groups.items():
        if path.endswith("-driver"):
            steps += _driver(workflow, path, iteration, outer)
        elif executor := groups.get((f"{path}.executor", iteration)):
            steps.append(_step(workflow, path, iteration, outer, executor))
    return sorted(steps, key=lambda step: (step.started or float("inf"), step.task))


def _nodes(status: Mapping[str, Any]) -> Mapping[str, Node]:
    """The nodes of a Workflow; above 1 MiB Argo packs them."""
    packed = status.get("compressedNodes")
    nodes = json.loads(gzip.decompress(base64.b64decode(packed))) if packed else status.get("nodes")
    return nodes or {}


def _step(
    workflow: Mapping[str, Any], path: str, iteration: int | None, outer: list[Node], executor: list[Node]
) -> Step:
    """The step at `path`, from the nodes around its pods and the nodes of its executor."""
    pods = sorted((node for node in executor if node["type"] == "Pod"), key=_order)
    whole = min(outer, key=lambda node: len(node["name"]))  # the node around all tries
    phase = str(whole.get("phase", ""))
    if phase == "Succeeded":
        state = "succeeded" if pods else "cached"
    elif phase in ("Failed", "Error"):
        state = "failed"
    else:
        # A pod that has ended while Argo still decides about another try counts as running.
        state = "waiting" if not pods or pods[-1].get("phase") == "Pending" else "running"
    newest = pods[-1] if pods else whole
    messages = [node.get("message") for node in (newest, *executor, whole) if node.get("message")]
    return Step(
        task=path.rpartition(".")[2],
        state=state,
        pod=_pod_name(workflow, newest) if pods else "",
        node=str(newest.get("id", "")),
        started=_seconds(pods[0] if pods else whole, "startedAt"),
        finished=_seconds(newest, "finishedAt") if state in ENDED else 0.0,
        message="" if state in ("succeeded", "cached") or not messages else str(messages[0]),
        tries=len(pods),
        iteration=iteration,
    )


def _driver(workflow: Mapping[str, Any], path: str, iteration: int | None, nodes: list[Node]) -> list[Step]:
    """KFP's driver of a step, or of a group of steps, where it needs attention; else nothing."""
    pods = sorted((node for node in nodes if node["type"] == "Pod"), key=_order)
    whole = min(nodes, key=lambda node: len(node["name"]))
    failed = whole.get("phase") in ("Failed", "Error")
    if not pods or not (failed or pods[-1].get("phase") == "Pending"):
        return []
    pod = pods[-1]
    return [
        Step(
            task=path.rpartition(".")[2].removesuffix("-driver"),
            state="failed" if failed else "waiting",
            pod=_pod_name(workflow, pod),
            node=str(pod.get("id", "")),
            started=_seconds(pod, "startedAt"),
            finished=_seconds(pod, "finishedAt"),
            message=str(pod.get("message") or whole.get("message") or ""),
            tries=len(pods),
            iteration=iteration,
            driver=True,
        )
    ]


def _order(node: Node) -> tuple[str, str]:
    return str(node.get("startedAt", "")), str(node.get("name", ""))


def _pod_name(workflow: Mapping[str, Any], node: Node) -> str:
    """The name of a node's pod. Argo's format v2 has the template's name between workflow and hash."""
    metadata = workflow.get("metadata", {})
    identity = str(node.get("id", ""))
    if metadata.get("annotations", {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return identity
    return f"{metadata.get('name', '')}-{node.get('templateName', '')}-{identity.rpartition('-')[2]}"


def _seconds(node: Node, field: str) -> float:
    text = node.get(field)
    return datetime.fromisoformat(text).timestamp() if text else 0.0
