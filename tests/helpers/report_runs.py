"""Results of a run, a sweep, and a run without a baseline, for the tests of reports."""

from __future__ import annotations

from typing import Any

from netslim.pruning.layer_report import LayerRow
from netslim.results.measures import Histogram, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from tests.helpers.results import pass_result


def row(index: int, **more: Any) -> PassResult:
    """Sizes fall to a tenth with every pass."""
    now = 10**index
    values: dict[str, Any] = {
        "channels": 400 // (index + 1),
        "params": 288_170 // now,
        "macs": 2_380_000 // now,
        "test": 0.5 + index / 4,
        "trained": 0.5 + index / 8,
        "onnx_bytes": 1_157_000 // now,
        "measured_at": index,
        "latency_ms": {1: 0.24 / (index + 1), 32: 4.2 / (index + 1)},
        "layer_macs": {"features.0": 1_380_000 // now, "head": 1_000_000 // now},
        "gammas": Histogram(edges=(0.0, 0.5, 1.0), counts=(index, 9)),
        "curves": {("sparse" if index else "base"): curve(4)},
    }
    if index:
        values |= {
            # The milliseconds of two passes do not compare: here the baseline was measured beside a training.
            "wide_latency": {1: Latency(median_ms=0.36), 32: Latency(median_ms=4.2)},
            "pruned": 0.75,
            "size_before": Size(channels=400 // index, params=2_881_700 // now, macs=23_800_000 // now),
            "threshold": 0.25,
            "layers": (
                LayerRow("features.1", 8, 3, 4, "at most 50 % of a layer"),
                LayerRow("features.4", 9, 9, 9),
            ),
        }
    return pass_result(index, **values | more)


def curve(epochs: int) -> tuple[dict[str, float], ...]:
    return tuple(
        {"step": e, "ts": e, "train/error": 50 / e, "sparsity/near_zero_share": e / 10, "val/error": 60 / e}
        for e in range(1, epochs + 1)
    )


RUN = RunResults(
    (row(0), row(1), row(2, reason="done: 2 of 2 passes")),
    {"architecture": "vgg-digits", "dataset": "Digits"},
)
SWEEP = RunResults(tuple(row(1, label=f"percent 0.{tenths}", test=float(tenths)) for tenths in (3, 5, 7)))
NO_BASELINE = RunResults(RUN.rows[1:])
