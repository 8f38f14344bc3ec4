"""The metrics of a run in MLflow: names, values, steps and timestamps. Plain data, without MLflow.

The names are those of netslim 0.1.0: MLflow draws runs together only where their metrics have one name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netslim.results.best_model import BestModel
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = ["MetricPoint", "curve_points", "pass_points", "result_points"]


class MetricPoint(NamedTuple):
    """One value of one metric.

    `step` is the pass for the metrics of a pass, and the epoch for those of a training curve. `ts` is the
    time in milliseconds since 1970.
    """

    key: str
    value: float
    step: int
    ts: int


def pass_points(results: RunResults, result: PassResult) -> list[MetricPoint]:
    """The metrics of one pass, with its index as their step.

    `ratio/params`, `ratio/flops` and `ratio/channels` are the reference size divided by the size after this
    pass. `eval/error_added` is the increase of the test error over the reference error, in percentage points.
    `ratio/latency_b1` is the latency of the wide network divided by this one's, measured in turns.
    """
    values: dict[str, float | None] = {
        "model/channels": result.size.channels,
        "model/params": result.size.params,
        "model/macs": result.size.macs,
        "model/flops": result.size.flops,
        "model/onnx_bytes": result.onnx_bytes,
        "eval/error": result.errors.test,
        "eval/error_val": result.errors.validation,
        "eval/error_trained": result.errors.trained,
        "eval/error_pruned": result.errors.pruned,
        "prune/threshold": result.threshold,
        "prune/zero_share": result.near_zero_share,
        "prune/pruned_share": result.pruned_share,
        **{f"latency/b{batch}_ms": one.median_ms for batch, one in result.latency.items()},
        **{f"latency/b{batch}_p95_ms": one.p95_ms for batch, one in result.latency.items()},
        **{f"latency/wide_b{batch}_ms": one.median_ms for batch, one in result.wide_latency.items()},
        **{f"ratio/latency_b{batch}": ratio for batch, ratio in result.speedup.items()},
    }
    if size := results.reference_size:
        for name in ("channels", "params", "flops"):
            values[f"ratio/{name}"] = getattr(size, name) / max(1, getattr(result.size, name))
    if reference := results.reference_error:
        values["eval/error_added"] = result.errors.test - reference.error
    return [
        MetricPoint(key, float(value), result.index, result.measured_at)
        for key, value in values.items()
        if value is not None
    ]


def result_points(results: RunResults, best: BestModel) -> list[MetricPoint]:
    """The result of the run so far: the metrics of the model to take, for the parent run.

    Their step is the last pass. MLflow shows the value of the highest step, so a table of runs has the result
    of each run in one line.
    """
    taken, last = best.result, results.rows[-1]
    wide = results.reference_size
    values: dict[str, float | None] = {
        "result/pass": taken.index,
        "result/error": taken.errors.test,
        "result/error_val": taken.errors.validation,
        "result/error_added": best.error - best.reference_error,
        "result/params": taken.size.params,
        "result/flops": taken.size.flops,
        "result/flops_ratio": wide.flops / max(1, taken.size.flops) if wide else None,
        **{f"result/latency_b{batch}_ms": one.median_ms for batch, one in taken.latency.items()},
        **{f"result/latency_b{batch}_ratio": ratio for batch, ratio in taken.speedup.items()},
    }
    return [
        MetricPoint(key, float(value), last.index, last.measured_at)
        for key, value in values.items()
        if value is not None
    ]


def curve_points(stage: str, curve: tuple[Mapping[str, float], ...]) -> Iterator[MetricPoint]:
    """The metrics of a training curve, all of one stage below one prefix: MLflow makes one section of them.

    `train/loss` of the stage "sparse" becomes `sparse/loss`, its `val/error` becomes `sparse/val_error`.
    Values that are not finite are left out: MLflow would store infinity as 1.8e308.
    """
    for epoch in curve:
        for key, value in epoch.items():
            if key not in ("step", "ts") and math.isfinite(value):
                short = key.removeprefix("train/").removeprefix("sparsity/").replace("/", "_")
                yield MetricPoint(f"{stage}/{short}", float(value), int(epoch["step"]), int(epoch["ts"]))
