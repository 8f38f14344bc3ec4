"""The measured values of one pass: sizes, errors, latencies and the histogram of the scaling factors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from netslim.errors import DataError

__all__ = ["Errors", "Histogram", "Latency", "Size", "check_range", "wrong_value"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a network: prunable channels, parameters, and MACs for one image.

    MACs and FLOPs (2 x MACs) are those of convolution and linear layers.
    """

    channels: int
    params: int
    macs: int

    def __post_init__(self) -> None:
        for name in ("channels", "params", "macs"):
            check_range(name, getattr(self, name), 0, math.inf)

    @property
    def flops(self) -> int:
        return 2 * self.macs


@dataclass(frozen=True, kw_only=True)
class Errors:
    """The errors of one pass, each in percent of the images of a split.

    Args:
        test: of the exported ONNX model on the test split, computed by onnxruntime.
        validation: the same on the validation split; None where no images were held out.
        trained: of the PyTorch model on the test split, after training and before pruning.
        pruned: of the PyTorch model on the test split, after pruning and before fine-tuning.
    """

    test: float
    validation: float | None = None
    trained: float | None = None
    pruned: float | None = None

    def __post_init__(self) -> None:
        for name in ("test", "validation", "trained", "pruned"):
            check_range(f"errors.{name}", getattr(self, name), 0, 100)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one batch in onnxruntime, on one thread."""

    median_ms: float
    p95_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("median_ms", "p95_ms"):
            check_range(f"latency {name}", getattr(self, name), 0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The number of values in each bin; `edges` has one entry more than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "counts", tuple(self.counts))
        if len(self.edges) != len(self.counts) + 1:
            raise wrong_value("gammas", f"{len(self.edges)} edges for {len(self.counts)} counts")


def check_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raise DataError unless `value` is None or a finite number from `low` to `high`."""
    if value is None:
        return
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        bounds = f"a finite number from {low} to {high}" if high < math.inf else f"a finite number from {low}"
        raise wrong_value(name, f"{value!r} is not {bounds}")


def wrong_value(name: str, problem: str) -> DataError:
    """The error for a value in a results file that cannot be right."""
    return DataError(problem, field=f"results {name}", remedy="Run the pass that wrote it again")
