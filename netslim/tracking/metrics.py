"""What of a ledger becomes a point in MLflow: names, values, steps and timestamps. Plain data, no MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = ["Point", "curve_points", "row_points"]


class Point(NamedTuple):
    """`step` is the pass for a row's points, the epoch for a curve's; `ts` is in milliseconds since 1970."""

    key: str
    value: float
    step: int
    ts: int


def row_points(ledger: RunResults, row: PassResult) -> list[Point]:
    """A row's numbers, and how they compare with the wide network: `ratio/` says how many times fewer,
    `eval/error_added` how many percentage points worse."""
    values: dict[str, float | None] = {
        "model/channels": row.size.channels,
        "model/params": row.size.params,
        "model/macs": row.size.macs,
        "model/flops": row.size.flops,
        "model/onnx_bytes": row.onnx_bytes,
        "eval/error": row.errors.test,
        "eval/error_val": row.errors.validation,
        "eval/error_trained": row.errors.trained,
        "eval/error_pruned": row.errors.pruned,
        "prune/threshold": row.threshold,
        "prune/zero_share": row.near_zero_share,
        "prune/pruned_share": row.pruned_share,
        **{f"latency/b{batch}_ms": one.median_ms for batch, one in row.latency.items()},
        **{f"latency/b{batch}_p95_ms": one.p95_ms for batch, one in row.latency.items()},
    }
    if wide := ledger.reference_size:
        for name in ("channels", "params", "flops"):
            values[f"ratio/{name}"] = getattr(wide, name) / max(1, getattr(row.size, name))
    if reference := ledger.reference_error:
        values["eval/error_added"] = row.errors.test - reference.error
    return [
        Point(key, float(value), row.index, row.measured_at)
        for key, value in values.items()
        if value is not None
    ]


def curve_points(stage: str, curve: tuple[Mapping[str, float], ...]) -> Iterator[Point]:
    """A training curve's points, all of a stage under one prefix: MLflow draws one section for each.

    `train/loss` of the sparse stage is `sparse/loss`, its `val/error` is `sparse/val_error`.
    """
    for epoch in curve:
        for key, value in epoch.items():
            if key not in ("step", "ts") and math.isfinite(value):  # infinity would become 1.8e308 there
                short = key.removeprefix("train/").removeprefix("sparsity/").replace("/", "_")
                yield Point(f"{stage}/{short}", float(value), int(epoch["step"]), int(epoch["ts"]))
