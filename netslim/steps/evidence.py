"""Evidence: what one step has to say about its work, one JSON file beside what it made.

`facts` are the step's findings (numbers, tables), `history` is the training curve with its own timestamps.
Evidence travels with the artifacts, so a cached step still testifies: `evaluate` reads it and completes in
MLflow whatever the step itself could not log.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netslim.errors import DataError
from netslim.files import read_json, write_json

__all__ = ["Evidence", "read_evidence", "read_history", "write_evidence"]


@dataclass(frozen=True)
class Evidence:
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


def write_evidence(path: str | os.PathLike[str], evidence: Evidence) -> Evidence:
    write_json(path, {"facts": evidence.facts, "history": evidence.history})
    return evidence


def read_evidence(path: str | os.PathLike[str]) -> Evidence:
    """Read what another step wrote.

    Raises:
        DataError: the file is missing, truncated, or not evidence.
    """
    content = read_json(path)
    if not isinstance(content, dict) or set(content) != {"facts", "history"}:
        raise DataError("this is not a step's evidence", field=str(path), remedy="Run the step again")
    return Evidence(content["facts"], content["history"])


def read_history(path: Path) -> list[dict[str, Any]]:
    """The points of a history.jsonl, in order; a last line cut short by a kill is left out."""
    points = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return points
