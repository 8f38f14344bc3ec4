"""Step records: the metrics and the training curve of each step of a pass, in one file inside the artifact.

Each artifact contains the records of the steps that made it: a step copies the records of its input and adds
its own. A cached step logs nothing, so `evaluate` reads all records and uploads to MLflow what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from netslim.errors import DataError
from netslim.steps.step_metrics import ExportMetrics, PruneMetrics, TrainMetrics
from netslim.storage.atomic import read_json
from netslim.storage.digests import check_digests

__all__ = ["StepRecord", "StepRecords", "read_step_records"]

FILE = "step_records.json"
FILE_OF_0_1 = "evidence.json"
_NAMES_OF_0_1 = {"tune": "fine_tune"}

Metrics = TypeVar("Metrics", TrainMetrics, PruneMetrics, ExportMetrics)


@dataclass(frozen=True)
class StepRecord(Generic[Metrics]):
    """What one step measured; `history` has one point per epoch and is empty for steps that do not train."""

    metrics: Metrics
    history: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepRecords:
    """The records of the steps of one pass; None for a step that has not run.

    `train` is the record of normal or sparse training, with which a pass begins.
    """

    train: StepRecord[TrainMetrics] | None = None
    prune: StepRecord[PruneMetrics] | None = None
    fine_tune: StepRecord[TrainMetrics] | None = None
    export: StepRecord[ExportMetrics] | None = None

    @property
    def names(self) -> list[str]:
        """The steps that have a record."""
        return [step.name for step in fields(self) if getattr(self, step.name) is not None]

    def to_json_files(self) -> dict[str, Any]:
        """The records as JSON documents by file name, as `save_model` takes them."""
        return {
            FILE: {
                name: {"metrics": record.metrics.to_json(), "history": [dict(one) for one in record.history]}
                for name, record in ((name, getattr(self, name)) for name in self.names)
            }
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StepRecords:
        """Read the document of `to_json_files`, or of an evidence.json of version 0.1.0.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, DataError: it is not such a document.
        """
        return cls(**{_NAMES_OF_0_1.get(name, name): _record(name, value) for name, value in data.items()})


_METRICS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "train": TrainMetrics.from_json,
    "prune": PruneMetrics.from_json,
    "fine_tune": TrainMetrics.from_json,
    "tune": TrainMetrics.from_json,
    "export": ExportMetrics.from_json,
}


def _record(name: str, data: Mapping[str, Any]) -> StepRecord[Any]:
    metrics = data["metrics"] if "metrics" in data else data["facts"]
    return StepRecord(_METRICS[name](metrics), tuple(data["history"]))


def read_step_records(folder: str | os.PathLike[str]) -> StepRecords:
    """The records in an artifact; no record in a network that did not come from the pipeline.

    Raises:
        DataError: the file is truncated or altered, or does not hold step records.
    """
    path = next((p for p in (Path(folder, FILE), Path(folder, FILE_OF_0_1)) if p.exists()), None)
    if path is None:
        return StepRecords()
    check_digests(folder, path.name)
    content = read_json(path)
    try:
        return StepRecords.from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        problem = f"not valid step records ({type(error).__name__}: {error})"
        raise DataError(problem, field=str(path), remedy="Run the step that wrote it again") from error
