"""The results of a run: one PassResult per pass, and the settings that are the same for all of them.

Each `evaluate` step reads the results of the pass before and writes them with its own pass added, so the
latest artifact contains every earlier pass. Results that a tracking server missed can be uploaded later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from netslim.errors import DataError
from netslim.results.format_0_1 import LEDGER_FORMAT
from netslim.results.measures import Size, wrong_value
from netslim.results.pass_result import PassResult
from netslim.storage.atomic import read_json, write_json
from netslim.storage.digests import check_digest, with_digest

__all__ = ["Decision", "Reference", "RunResults"]

FORMAT = "netslim.results/1"


class Reference(NamedTuple):
    """The network that errors are compared with, named as in a sentence, and its test error in percent."""

    name: str
    error: float


@dataclass(frozen=True)
class Decision:
    """Whether another pass is to be run, and the reason as a sentence."""

    continue_: bool
    reason: str


@dataclass(frozen=True)
class RunResults:
    """The passes of a run so far, or the points of a sweep, in order.

    Args:
        rows: one result for each pass or point.
        constants: settings that identify the run (architecture, dataset, lambda, percent, ...): MLflow's
            params.
        origin: `experiment`, `key` and `name` of the run in MLflow, to log a results file later;
            empty where nothing is recorded, and in results that were read from MLflow.
        unlogged: titles of the passes that MLflow did not accept when they were measured.

    Raises:
        DataError: the rows are passes, and not consecutive from 0 (with a baseline) or 1 (without).
    """

    rows: tuple[PassResult, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    unlogged: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        indices = [row.index for row in self.rows if not row.label]
        if indices and (indices[0] > 1 or indices != list(range(indices[0], indices[0] + len(indices)))):
            raise wrong_value("rows", f"passes {indices} are not consecutive from 0 or 1")

    def with_row(self, row: PassResult) -> RunResults:
        """These results and one more pass. A retried pass replaces its own row and all later rows."""
        return replace(self, rows=(*(old for old in self.rows if old.index < row.index), row))

    def with_decision(self, decision: Decision) -> RunResults:
        """These results, with the decision after the last pass written into its row."""
        decided = replace(self.rows[-1], reason=decision.reason, continue_=decision.continue_)
        return replace(self, rows=(*self.rows[:-1], decided))

    @property
    def ended(self) -> bool:
        """Whether no pass, or point of a sweep, is missing.

        Passes have ended when the decision after the last one was to stop. The points of a sweep are complete
        when there are as many as the constant `points` says; without it, from the first point on.
        """
        labels = {row.label for row in self.rows if row.label}
        if labels:
            return len(labels) >= int(self.constants.get("points", 1))
        return bool(self.rows) and self.rows[-1].continue_ is False

    @property
    def baseline(self) -> PassResult | None:
        return self.rows[0] if self.rows and self.rows[0].index == 0 else None

    @property
    def reference_size(self) -> Size | None:
        """The size that others are compared with: the baseline's, else of the network that pass 1 pruned."""
        if self.baseline:
            return self.baseline.size
        return self.rows[0].size_before if self.rows else None

    @property
    def reference_error(self) -> Reference | None:
        """The test error that others are compared with: the baseline's.

        A run without a baseline is compared with its first sparsely trained network, before pruning.
        """
        if self.baseline:
            return Reference("the baseline", self.baseline.errors.test)
        if self.rows and self.rows[0].errors.trained is not None:
            return Reference("the unpruned network", self.rows[0].errors.trained)
        return None

    @property
    def max_error_increase(self) -> float | None:
        """How many percentage points the error may rise; None for a sweep. 0.1.0 calls it `max_loss`."""
        text = self.constants.get("max_error_increase", self.constants.get("max_loss"))
        return None if text is None else float(text)

    @property
    def conclusion(self) -> str:
        """The outcome of the run as a sentence: why it stopped, or which point of a sweep is best."""
        points = [row for row in self.rows if row.label]
        if not points:
            reason = self.rows[-1].reason if self.rows else ""
            return f"{reason[:1].upper()}{reason[1:]}." if reason else ""
        validated = [(row.errors.validation, row.size.flops, row.label) for row in points]
        if any(error is None for error, _, _ in validated):
            return "No images were held out, so nothing may be chosen by these errors: add --validation."
        error, _, label = min(validated)
        return f"Lowest validation error: {error:.2f} % at {label}."

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.rows]
        recorded = {"origin": dict(self.origin), "unlogged": list(self.unlogged)}
        known = {name: value for name, value in recorded.items() if value}
        return {"format": FORMAT, "constants": dict(self.constants), **known, "rows": rows}

    @classmethod
    def from_json(cls, data: Any) -> RunResults:
        """Read the JSON of `to_json`, or a "netslim.ledger/1" of version 0.1.0.

        Raises:
            DataError: it has another format, or holds a value outside its range.
        """
        if not isinstance(data, dict) or data.get("format") not in (FORMAT, LEDGER_FORMAT):
            actual = data.get("format") if isinstance(data, dict) else type(data).__name__
            remedy = "Make it again with this version of netslim"
            raise DataError(f"expected {FORMAT}", field="results format", value=str(actual), remedy=remedy)
        constants = {str(name): str(value) for name, value in data.get("constants", {}).items()}
        origin = {str(name): str(value) for name, value in data.get("origin", {}).items()}
        rows = tuple(PassResult.from_json(row) for row in data.get("rows", ()))
        return cls(rows, constants, origin, tuple(map(str, data.get("unlogged", ()))))

    def save(self, path: str | os.PathLike[str]) -> None:
        write_json(path, with_digest(self.to_json()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunResults:
        document = read_json(path)
        check_digest(document, str(path))
        return cls.from_json(document)
