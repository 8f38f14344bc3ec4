"""How far the pod of an image has come, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netslim import __version__
from netslim_kfp.pipelines.cluster.image_pods import CONTAINER, OTHER_VERSION

__all__ = ["Outcome", "outcome", "unfinished"]

# Why a container waits. With these it would wait for ever, or until somebody changes something.
PULL = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff")
BACK_OFF = "ImagePullBackOff"  # in some versions its message lacks that of the registry
LONGEST = 400  # characters of a message

REGISTRY = "check NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG, and image_pull_secrets in the profiles"
NODE = "wait for a free node, or change the resources, node_selector or tolerations in the profiles"


@dataclass(frozen=True)
class Outcome:
    """Whether an image starts as it should, and a sentence that follows the image's name."""

    passed: bool
    text: str


def outcome(pod: Mapping[str, Any]) -> Outcome | None:
    """How the pod ended, or why it will not start; None while that is open.

    Args:
        pod: a pod as JSON data.
    """
    status = pod.get("status") or {}
    state = _container_state(status)
    if ended := state.get("terminated"):
        return _ended(ended, pod["spec"].get("nodeName", ""))
    if status.get("phase") == "Failed":  # the node refused it or lost it
        reason = " ".join(filter(None, (status.get("reason", ""), status.get("message", ""))))
        return Outcome(False, f"does not run: {_line(reason)}")
    waiting = state.get("waiting", {})
    reason, message = waiting.get("reason", ""), _line(waiting.get("message", ""))
    if reason in PULL and not (reason == BACK_OFF and "ErrImagePull" not in message):
        return _no_pull(message or reason)
    if reason in START:
        return Outcome(False, f"cannot be started: {reason}: {message}")
    return None


def unfinished(pod: Mapping[str, Any], seconds: int) -> Outcome:
    """Why a pod whose `outcome` is still open has not ended after this time."""
    status = pod.get("status") or {}
    state = _container_state(status)
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    longer = "try again with a longer --start-timeout"
    if state.get("waiting", {}).get("reason") == BACK_OFF:
        return _no_pull(_line(state["waiting"].get("message", "")))
    if "running" in state:
        return Outcome(False, f"started, but did not end within {seconds} s: {longer}")
    if scheduled.get("status") == "True":
        return Outcome(False, f"was still being pulled after {seconds} s, or its pod prepared: {longer}")
    why = _line(scheduled.get("message", "")) or "no scheduler has looked at its pod"
    return Outcome(False, f"got no node within {seconds} s: {why.rstrip('.')}: {NODE}")


def _ended(state: Mapping[str, Any], node: str) -> Outcome:
    code, lines = state.get("exitCode"), (state.get("message") or "").strip().splitlines()
    last = _line(lines[-1]) if lines else ""
    if code == 0:
        return Outcome(True, f"starts, with netslim {__version__}{f', on node {node}' if node else ''}")
    if code == OTHER_VERSION:
        remedy = "build and push the images of this version, with a new NETSLIM_IMAGE_TAG"
        return Outcome(False, f"has {last or 'another netslim'}, and this is {__version__}: {remedy}")
    reason = state.get("reason") or "Error"
    cause = f", {reason}" if reason != "Error" else ""
    return Outcome(False, f"ended with exit code {code}{cause}: {last or 'its log is empty'}")


def _no_pull(message: str) -> Outcome:
    return Outcome(False, f"cannot be pulled: {message.rstrip('.')}: {REGISTRY}")


def _container_state(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses") or ():
        if container["name"] == CONTAINER:
            return {
                kind: value for kind, value in (container.get("state") or {}).items() if value is not None
            }
    return {}


def _line(text: str) -> str:
    return " ".join((text or "").split())[:LONGEST]
