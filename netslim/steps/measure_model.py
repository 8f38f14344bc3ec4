"""The measurements of an exported model: its errors, its confusions, and its latency beside the wide one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from netslim import progress
from netslim.onnx_export import runtime
from netslim.results.confusion import ConfusionMatrix
from netslim.results.measures import Latency

if TYPE_CHECKING:
    from netslim.data import PackedDataset

__all__ = ["Measured", "measure"]

BATCHES = (1, 32)


@dataclass(frozen=True)
class Measured:
    """The measurements of one model. Errors are in percent, latencies in milliseconds by batch size.

    `wide_latency` is that of the wide network, measured in turns with `latency`; empty without one.
    """

    error: float
    error_validation: float | None
    confusion: ConfusionMatrix
    latency: Mapping[int, Latency]
    wide_latency: Mapping[int, Latency] = field(default_factory=dict)


def measure(
    file: Path, packed: PackedDataset, bar: progress.Bar, *, wide: str | os.PathLike[str] | None = None
) -> Measured:
    """Measure the ONNX model `file` with onnxruntime; `bar` advances twice.

    Args:
        packed: a dataset with the split "test", perhaps "val".
        wide: the ONNX file of the wide network. The two run in turns in this process, so other work on the
            machine, such as a training in another pod, changes their ratio little.
    """
    info, test = packed.info, packed.split("test")
    predicted = runtime.predict(file, test, info)
    confusion = ConfusionMatrix.of(info.classes, test.labels.tolist(), predicted.tolist())
    error = 100 * int((predicted != test.labels).sum()) / len(test)
    validation = runtime.error(file, packed.split("val"), info) if "val" in info.sizes else None
    bar.advance(1, **{"test error": error})
    shape = (info.channels, *info.image_size)
    files = {file: shape} if wide is None else {file: shape, Path(wide): shape}
    times = {
        path: {n: Latency(median_ms=one.median_ms, p95_ms=one.p95_ms) for n, one in by_batch.items()}
        for path, by_batch in runtime.latencies(files, batch_sizes=BATCHES).items()
    }
    bar.advance()
    return Measured(error, validation, confusion, times[file], {} if wide is None else times[Path(wide)])
