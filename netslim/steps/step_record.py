"""Evidence: what each step has to say about its work, in one JSON file within what it made.

`facts` are a step's findings (numbers, tables), `history` is the training curve with its own timestamps.
A network carries the evidence of every step of its pass, each step adding its own, so a cached step still
testifies: `evaluate` reads all of it and completes in MLflow whatever a step itself could not log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netslim.errors import DataError
from netslim.storage.atomic import read_json

__all__ = ["StepRecord", "read_history", "read_step_records", "to_json_files"]

FILE = "evidence.json"


@dataclass(frozen=True)
class StepRecord:
    """Findings of one step; `history` is empty for steps that do not train."""

    facts: dict[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)

    def numbers(self) -> dict[str, float]:
        """The facts that are plain numbers: what KFP shows beside the step."""
        return {
            name: float(value)
            for name, value in self.facts.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


def to_json_files(steps: Mapping[str, StepRecord]) -> dict[str, Any]:
    """JSON documents by file name, from the evidence of each step by its name: train, prune, tune, export."""
    return {FILE: {name: {"facts": found.facts, "history": found.history} for name, found in steps.items()}}


def read_step_records(folder: str | os.PathLike[str]) -> dict[str, StepRecord]:
    """The evidence that lies in an artifact, by step; none in a network that no step of ours made.

    Raises:
        DataError: the file is truncated, or not evidence.
    """
    path = Path(folder, FILE)
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict) or any(
        not isinstance(found, dict) or set(found) != {"facts", "history"} for found in content.values()
    ):
        raise DataError("this is not the evidence of steps", field=str(path), remedy="Run the step again")
    return {name: StepRecord(found["facts"], found["history"]) for name, found in content.items()}


def read_history(path: Path) -> list[dict[str, Any]]:
    """The points of a history.jsonl, in order; a last line cut short by a kill is left out."""
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return points
