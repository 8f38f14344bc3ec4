"""What of a ledger becomes a point in MLflow: names, values, steps and timestamps. Plain data, no MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netslim.results.run_results import PassResult, RunResults

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
        "model/channels": row.channels,
        "model/params": row.params,
        "model/macs": row.macs,
        "model/flops": row.flops,
        "model/onnx_bytes": row.onnx_bytes,
        "eval/error": row.error,
        "eval/error_val": row.error_val,
        "eval/error_trained": row.error_trained,
        "eval/error_pruned": row.error_pruned,
        "prune/threshold": row.threshold,
        "prune/zero_share": row.zero_share,
        "prune/pruned_share": row.pruned_share,
        **{f"latency/b{batch}_ms": ms for batch, ms in row.latency_ms.items()},
        **{f"latency/b{batch}_p95_ms": ms for batch, ms in row.latency_p95_ms.items()},
    }
    if wide := ledger.wide:
        for name in ("channels", "params", "flops"):
            values[f"ratio/{name}"] = getattr(wide, name) / max(1, getattr(row, name))
    if reference := ledger.allowed_from:
        values["eval/error_added"] = row.error - reference[1]
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
