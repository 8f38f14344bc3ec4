"""The ledger: one row per pass, with everything that table, plots, MLflow and the next decision need.

It travels from pass to pass as an artifact, so what a cached step found, or what the tracking server missed
while it was away, is never lost: whoever holds the last ledger can tell the whole run again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from netslim.errors import DataError
from netslim.pruning.layer_report import LayerRow
from netslim.storage.atomic import read_json, write_json

__all__ = ["Decision", "Histogram", "PassResult", "RunResults", "Size", "should_continue"]

FORMAT = "netslim.ledger/1"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a network is; FLOPs are 2 x MACs of convolution and linear layers, for one image."""

    channels: int
    params: int
    macs: int

    @property
    def flops(self) -> int:
        return 2 * self.macs


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many values fall into each bin; `edges` has one more entry than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "counts", tuple(self.counts))
        if len(self.edges) != len(self.counts) + 1:
            raise _wrong("gammas", f"{len(self.edges)} edges for {len(self.counts)} counts")


@dataclass(frozen=True, kw_only=True)
class PassResult(Size):
    """One pass, measured on its exported ONNX model. Row 0 is the baseline, trained and never pruned.

    Args:
        index: the pass, from 0.
        error: test error in percent of the exported model, as onnxruntime computes it.
        onnx_bytes: size of the exported file.
        measured_at: when, in milliseconds since 1970; the timestamp of this row's points in MLflow.
        error_val: the same on the validation split, where there is one: choices are made by this.
        label: what to call the row when it is a point of a sweep and no pass.
        error_trained: test error in percent after (sparse) training, before anything was pruned.
        error_pruned: test error in percent right after pruning, before fine-tuning.
        before: the size of the network that was pruned; None for the baseline.
        threshold: the largest |gamma| that was pruned by rank.
        zero_share: share (0 to 1) of scaling factors near zero when pruning began.
        latency_ms, latency_p95_ms: milliseconds per batch in onnxruntime, by batch size.
        onnx_sha256: identity of the exported file.
        layer_macs: MACs of each layer that has any, in the order of the network.
        layers: per layer what it had, what the ranking wanted, what it kept, and why.
        gammas: histogram of |gamma| over all scaling factors when pruning began.
        curves: training curves by stage ("base", "sparse", "fine_tune"): one point per epoch, each with
            "step" (the epoch) and "ts" (milliseconds), and numbers under any other name.
        note: why the run went on or stopped after this pass.
        go_on: whether it went on; None before that is decided, and in the rows of 0.1.0.

    Raises:
        DataError: a value is outside its range.
    """

    index: int
    error: float
    onnx_bytes: int
    measured_at: int
    error_val: float | None = None
    label: str = ""
    error_trained: float | None = None
    error_pruned: float | None = None
    before: Size | None = None
    threshold: float | None = None
    zero_share: float | None = None
    latency_ms: Mapping[int, float] = field(default_factory=dict)
    latency_p95_ms: Mapping[int, float] = field(default_factory=dict)
    onnx_sha256: str = ""
    layer_macs: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[LayerRow, ...] = ()
    gammas: Histogram | None = None
    curves: Mapping[str, tuple[Mapping[str, float], ...]] = field(default_factory=dict)
    note: str = ""
    go_on: bool | None = None

    def __post_init__(self) -> None:
        for name in ("error", "error_val", "error_trained", "error_pruned"):
            _within(name, getattr(self, name), 0, 100)
        _within("zero_share", self.zero_share, 0, 1)
        for name in ("index", "channels", "params", "macs", "onnx_bytes", "measured_at", "threshold"):
            _within(name, getattr(self, name), 0, math.inf)
        for name in ("latency_ms", "latency_p95_ms"):
            for batch, milliseconds in getattr(self, name).items():
                _within(f"{name}[{batch}]", milliseconds, 0, math.inf)
        for layer, macs in self.layer_macs.items():
            _within(f"layer_macs[{layer!r}]", macs, 0, math.inf)
        for stage, points in self.curves.items():
            if not all("step" in point and "ts" in point for point in points):
                raise _wrong(f"curves[{stage!r}]", "a point lacks its step or ts")
        if self.go_on is not None and not isinstance(self.go_on, bool):
            raise _wrong("go_on", f"{self.go_on!r} is not true or false")

    @property
    def title(self) -> str:
        return self.label or ("baseline" if self.index == 0 else f"pass {self.index}")

    @property
    def pruned_share(self) -> float | None:
        """Share (0 to 1) of this pass's channels that it pruned."""
        return 1 - self.channels / self.before.channels if self.before else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PassResult:
        """Read what `to_json` gave, with keys and tuples as JSON has them."""
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise _wrong(", ".join(unknown), "unknown to this version of netslim")
        values = dict(data)
        try:
            values["before"] = Size(**values["before"]) if values.get("before") else None
            values["gammas"] = Histogram(**values["gammas"]) if values.get("gammas") else None
            values["layers"] = tuple(LayerRow(**layer) for layer in values.get("layers", ()))
            values["curves"] = {stage: tuple(points) for stage, points in values.get("curves", {}).items()}
            for name in ("latency_ms", "latency_p95_ms"):
                values[name] = {int(batch): ms for batch, ms in values.get(name, {}).items()}
            return cls(**values)
        except (TypeError, ValueError, AttributeError) as error:
            raise _wrong(f"row {data.get('index', '?')}", str(error)) from error


@dataclass(frozen=True)
class RunResults:
    """The rows of a run so far, in order, and what stays the same over all of them.

    `constants` are what identifies the run (architecture, dataset, lambda, percent, ...): MLflow's params.

    Raises:
        DataError: the rows are passes, and not consecutive from 0 (with a baseline) or 1 (without).
    """

    rows: tuple[PassResult, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        indices = [row.index for row in self.rows if not row.label]
        if indices and (indices[0] > 1 or indices != list(range(indices[0], indices[0] + len(indices)))):
            raise _wrong("rows", f"passes {indices} are not consecutive from 0 or 1")

    def with_row(self, row: PassResult) -> RunResults:
        """This ledger and one more pass; a retried pass replaces its own row and whatever came after it."""
        return replace(self, rows=(*(old for old in self.rows if old.index < row.index), row))

    def with_decision(self, decision: Decision) -> RunResults:
        """This ledger, with what was decided after its last row written into that row."""
        decided = replace(self.rows[-1], note=decision.reason, go_on=decision.go_on)
        return replace(self, rows=(*self.rows[:-1], decided))

    @property
    def ended(self) -> bool:
        """Whether the decision after the last row was to stop: nothing was left to run.

        A point of a sweep is one pass of one, so the decision after it is always to stop. The ledger does not
        hold how many points there should be: a sweep that was killed after its first point counts as ended.
        """
        return bool(self.rows) and self.rows[-1].go_on is False

    @property
    def baseline(self) -> PassResult | None:
        return self.rows[0] if self.rows and self.rows[0].index == 0 else None

    @property
    def wide(self) -> Size | None:
        """What sizes are compared with: the baseline, or without one the network that pass 1 pruned."""
        return self.baseline or (self.rows[0].before if self.rows else None)

    @property
    def allowed_from(self) -> tuple[str, float] | None:
        """What errors are compared with, and its error: the baseline's, or without one that of the first
        sparsely trained network, the last one that was still whole."""
        if self.baseline:
            return "the baseline", self.baseline.error
        if self.rows and self.rows[0].error_trained is not None:
            return "the unpruned network", self.rows[0].error_trained
        return None

    @property
    def conclusion(self) -> str:
        """What to take from the run, as a sentence: why it stopped, or which point of a sweep is best."""
        points = [row for row in self.rows if row.label]
        if not points:
            note = self.rows[-1].note if self.rows else ""
            return f"{note[:1].upper()}{note[1:]}." if note else ""
        if any(row.error_val is None for row in points):
            return "No images were held out, so nothing may be chosen by these errors: add --validation."
        best = min(points, key=lambda row: (row.error_val, row.flops))
        return f"Lowest validation error: {best.error_val:.2f} % at {best.label}."

    def to_json(self) -> dict[str, Any]:
        rows = [row.to_json() for row in self.rows]
        return {"format": FORMAT, "constants": dict(self.constants), "rows": rows}

    @classmethod
    def from_json(cls, data: Any) -> RunResults:
        """Read what `to_json` gave.

        Raises:
            DataError: it is no ledger, of another version, or holds a value outside its range.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            remedy = "Make it again with this version of netslim"
            raise DataError(f"expected {FORMAT}", field="ledger format", value=str(found), remedy=remedy)
        constants = {str(name): str(value) for name, value in data.get("constants", {}).items()}
        return cls(tuple(PassResult.from_json(row) for row in data.get("rows", ())), constants)

    def save(self, path: str | os.PathLike[str]) -> None:
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunResults:
        return cls.from_json(read_json(path))


@dataclass(frozen=True)
class Decision:
    go_on: bool
    reason: str


def should_continue(ledger: RunResults, *, passes: int, max_loss: float) -> Decision:
    """Whether another pass is worth running after the ledger's last row, and why, as a sentence.

    It is when passes are left, the last pass pruned something, and its error is at most `max_loss` percentage
    points above the baseline's: the validation error where there is one, else the test error. Without a
    baseline the test error of the first sparsely trained network, before it was pruned, stands in. The
    baseline itself is never a reason to stop.
    """
    last, baseline, reference = ledger.rows[-1], ledger.baseline, ledger.allowed_from
    kind, error = "error", last.error
    if baseline and baseline.error_val is not None and last.error_val is not None:
        kind, error, reference = "validation error", last.error_val, ("the baseline", baseline.error_val)
    if reference and last.index > 0:
        name, allowed = reference
        loss = error - allowed
        if loss > max_loss + 1e-9:  # 2.3 - 1.3 is more than 1.0 in binary
            told = f"{kind} {error:.2f} % is {loss:.2f} points above {name}'s {allowed:.2f} %"
            return Decision(False, f"stopped: {told}, more than the {max_loss:g} allowed")
    if last.before and last.channels >= last.before.channels:
        return Decision(False, "stopped: nothing was left to prune")
    if last.index >= passes:
        return Decision(False, f"done: {passes} of {passes} passes")
    return Decision(True, f"goes on: pass {last.index + 1} of {passes} follows")


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        bounds = f"a finite number from {low} to {high}" if high < math.inf else f"a finite number from {low}"
        raise _wrong(name, f"{value!r} is not {bounds}")


def _wrong(name: str, problem: str) -> DataError:
    return DataError(problem, field=f"ledger {name}", remedy="Run the pass that wrote it again")
