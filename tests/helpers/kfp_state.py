"""What the KFP backend of the tests holds, and how it behaves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    """Answer with `status` (0: hang up) the next `times` requests whose `METHOD path` matches; `late` ones do
    their work first, as a gateway that loses the answer does."""

    pattern: str
    status: int
    times: int = 1
    late: bool = False


@dataclass
class Cluster:
    """What the backend holds, and how it behaves."""

    version: str = "2.17.0"
    multi_user: bool = True
    token: str = ""
    forbidden: str = ""
    unknown_fields: tuple[str, ...] = ()
    states: list[str] = field(default_factory=lambda: ["PENDING", "RUNNING", "SUCCEEDED"])
    faults: list[Fault] = field(default_factory=list)
    pipelines: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    experiments: list[Any] = field(default_factory=list)
    runs: list[Any] = field(default_factory=list)
    schedules: list[Any] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    workflows: list[Any] = field(default_factory=list)
    """What the Workflow of every run is at each look at it; the last one stays."""
    logs: dict[str, str] = field(default_factory=dict)
    """The log of each step by the name of its pod."""
    history: list[str] = field(default_factory=list)
    """The states of every run's history, added to its own."""
    address: str = ""

    def asked(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, request)) for request in self.requests)
