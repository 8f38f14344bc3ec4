"""The pods of a small Kubernetes, checked against its own schema when they are created.

They do not run: each look at a pod shows the next status that a test has given for its image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import kubernetes_validate

__all__ = ["NAMESPACE", "PODS", "Pods", "RefusedError"]

NAMESPACE = "team"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SCHEMA = "1.34"


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Pods:
    """The pods by name, and how the cluster behaves."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By image: what each look at its pod shows; the last one stays."""
    policies: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By image: status and message of the admission that refuses its pod."""
    quota: int = 100
    """Pods that may be there at a time, not counting those that have ended."""
    forbidden: set[str] = field(default_factory=set)
    """Verbs that the user may not use."""
    created: list[dict[str, Any]] = field(default_factory=list)
    at_look: list[Callable[[], object]] = field(default_factory=list)
    """What happens just before each look at the pods of one check."""

    def answer(self, method: str, path: str, body: Any, selector: str) -> dict[str, Any]:
        name = path.removeprefix(PODS).strip("/")
        self._allow({"POST": "create", "DELETE": "delete"}.get(method, "get" if name else "list"))
        if method == "POST":
            return self._create(body)
        if not name:
            if "=" in selector and self.at_look:
                self.at_look.pop(0)()
            items = [self._look(pod) for pod in self.held.values() if _selected(pod, selector)]
            return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
        if name not in self.held:
            raise RefusedError(404, f'pods "{name}" not found')
        return self.held.pop(name) if method == "DELETE" else self.held[name]

    def _allow(self, verb: str) -> None:
        if verb in self.forbidden:
            where = f'in API group "" in the namespace "{NAMESPACE}"'
            raise RefusedError(403, f'pods is forbidden: User "ann" cannot {verb} resource "pods" {where}')

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        kubernetes_validate.validate(body, SCHEMA, strict=True)
        name, image = body["metadata"]["name"], image_of(body)
        if image in self.policies:
            raise RefusedError(*self.policies[image])
        active = [pod for pod in self.held.values() if self._shown(pod)["phase"] in ("Pending", "Running")]
        if len(active) >= self.quota:
            exceeded = f"exceeded quota: team, limited: pods={self.quota}"
            raise RefusedError(403, f'pods "{name}" is forbidden: {exceeded}')
        when = datetime.now(UTC).isoformat()
        self.held[name] = {**body, "metadata": {**body["metadata"], "creationTimestamp": when}}
        self.created.append(body)
        return self.held[name]

    def _shown(self, pod: dict[str, Any]) -> dict[str, Any]:
        return self.statuses.get(image_of(pod), [{"phase": "Pending"}])[0]

    def _look(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The pod with its next status."""
        status, left = self._shown(pod), self.statuses.get(image_of(pod), [])
        if len(left) > 1:
            left.pop(0)
        return {**pod, "status": status}


def image_of(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _selected(pod: dict[str, Any], selector: str) -> bool:
    """Whether the pod has the label `selector`, or with `key=value` this value of it."""
    key, equals, value = selector.partition("=")
    labels = pod["metadata"]["labels"]
    return key in labels and (not equals or labels[key] == value)
