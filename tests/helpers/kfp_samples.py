"""What a KFP 2.17.0 backend with Argo 4.0.5 answered, on 2026-11-27: tests/data/kfp-2.17/runs.

Each file has a `run` as the API v2beta1 gave it, without its tasks, and the `workflow` behind it with the
fields of its nodes that matter. The answers for failed runs had no names, boundaries and children of nodes;
they were put back by Argo's rule for names, and from the tasks of the same answers.
"""

from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

RUNS = Path(__file__).parents[1] / "data/kfp-2.17/runs"
NAMES = sorted(file.stem for file in RUNS.glob("*.json"))


def sample(name: str) -> dict[str, Any]:
    """`run`, and `workflow` where the backend was asked for it."""
    content: dict[str, Any] = json.loads((RUNS / f"{name}.json").read_text())
    return content


def at(workflow: dict[str, Any], moment: str) -> dict[str, Any]:
    """The Workflow as it was at `moment` ("21:30:40Z"), by the times of its nodes."""
    earlier = copy.deepcopy(workflow)
    nodes = earlier["status"]["nodes"]
    for name, node in list(nodes.items()):
        if node["startedAt"][11:] > moment:
            del nodes[name]
        elif node.get("finishedAt", "")[11:] > moment:
            node["phase"] = "Running"
            node.pop("finishedAt")
            node.pop("message", None)
    return earlier


def moments(workflow: dict[str, Any]) -> list[str]:
    """The times at which a node began or ended, in order."""
    nodes = workflow["status"]["nodes"].values()
    times = {node[field] for node in nodes for field in ("startedAt", "finishedAt") if node.get(field)}
    return [time[11:] for time in sorted(times, key=datetime.fromisoformat)]
