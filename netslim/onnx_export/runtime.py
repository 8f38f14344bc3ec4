"""Measure the error and the latency of an ONNX file in onnxruntime. This module does not need torch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from netslim.data.normalisation import normalise
from netslim.errors import ExportError, first_line

if TYPE_CHECKING:
    import onnxruntime

    from netslim.data import DatasetInfo, Split

__all__ = ["Latency", "error", "input_shape", "latencies", "latency", "predict"]

MIN_RUNS = 3
WARM_UP_RUNS = 3  # the first runs allocate memory and choose kernels


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one batch: the median and the 95th percentile over all runs."""

    median_ms: float
    p95_ms: float
    runs: int


def error(
    path: str | os.PathLike[str],
    split: Split,
    info: DatasetInfo,
    *,
    batch_size: int | None = None,
    threads: int = 0,
) -> float:
    """The error in percent: the share of images whose largest logit does not belong to their label.

    Args:
        path: the ONNX file.
        split: images uint8 [N, H, W, C] and labels int64 [N].
        info: holds mean and std per channel.
        batch_size: images per run; it affects speed and memory, not the result. By default 8 to 256, fewer
            for larger images, so that the activations of a wide network fit into a laptop's memory.
        threads: threads of onnxruntime; 0 means one per core.

    Raises:
        ExportError: the file cannot be loaded, does not fit the images, or gives NaN or infinite logits.
    """
    predicted = predict(path, split, info, batch_size=batch_size, threads=threads)
    return 100 * int((predicted != split.labels).sum()) / len(split.labels)


def predict(
    path: str | os.PathLike[str],
    split: Split,
    info: DatasetInfo,
    *,
    batch_size: int | None = None,
    threads: int = 0,
) -> npt.NDArray[np.int64]:
    """The class of the largest logit of each image, int64 [N]. The arguments are those of `error`.

    Raises:
        ExportError: the file cannot be loaded, does not fit the images, or gives NaN or infinite logits.
    """
    session = _session(path, threads)
    name = session.get_inputs()[0].name
    if batch_size is None:
        batch_size = info.batch_of(2**18, least=8, most=256)
    predicted = np.empty(len(split.labels), np.int64)
    for start in range(0, len(split.labels), batch_size):
        images = normalise(split.images[start : start + batch_size], info)
        logits = _run(session, {name: images}, path)
        if not np.isfinite(logits).all():
            raise ExportError(
                f"the model gives NaN or infinite logits from image {start} on",
                field=str(path),
                remedy="Training diverged: lower the learning rate or lambda",
            )
        predicted[start : start + batch_size] = logits.argmax(1)
    return predicted


def latency(
    path: str | os.PathLike[str],
    input_shape: tuple[int, int, int],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int = 1,
    seconds: float = 0.3,
) -> dict[int, Latency]:
    """Time runs of the file on random images (C, H, W), by batch size.

    Use few threads to compare machines and models. Batch sizes run in turns, so other load on the machine
    affects all of them alike; it shows in `p95_ms`. Each batch size runs for about `seconds`.

    Raises:
        ExportError: the file cannot be loaded or does not take these images.
    """
    file = Path(path)
    return latencies({file: input_shape}, batch_sizes=batch_sizes, threads=threads, seconds=seconds)[file]


def latencies(
    models: Mapping[Path, tuple[int, int, int]],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int = 1,
    seconds: float = 0.3,
) -> dict[Path, dict[int, Latency]]:
    """`latency` of several files, given with their input shapes (C, H, W). All files run in turns.

    Raises:
        ExportError: a file cannot be loaded or does not take these images.
    """
    generator = np.random.default_rng(0)
    runs: dict[tuple[Path, int], Callable[[], object]] = {}
    for path, shape in models.items():
        session = _session(path, threads)
        name = session.get_inputs()[0].name
        for n in batch_sizes:
            inputs = {name: generator.standard_normal((n, *shape), np.float32)}
            for _ in range(WARM_UP_RUNS):
                _run(session, inputs, path)
            runs[path, n] = partial(session.run, None, inputs)
    times: dict[tuple[Path, int], list[float]] = {key: [] for key in runs}
    spent = dict.fromkeys(runs, 0.0)
    while pending := [key for key in runs if spent[key] < seconds or len(times[key]) < MIN_RUNS]:
        for key in pending:
            start = time.perf_counter()
            runs[key]()
            times[key].append(time.perf_counter() - start)
            spent[key] += times[key][-1]
    return {path: {n: _summary(np.array(times[path, n]) * 1000) for n in batch_sizes} for path in models}


def input_shape(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """(C, H, W) of one image, from the input of the file.

    Raises:
        ExportError: the file cannot be loaded, or its input is not float32 images [batch, C, H, W].
    """
    value = _session(path, 1).get_inputs()[0]
    shape = tuple(value.shape)
    if value.type != "tensor(float)" or len(shape) != 4 or not all(isinstance(n, int) for n in shape[1:]):
        remedy = "Give model.onnx of a bundle"
        raise ExportError(
            f"takes {value.type} {list(shape)}, not float32 images", field=str(path), remedy=remedy
        )
    return shape[1:]


def _summary(milliseconds: npt.NDArray[np.float64]) -> Latency:
    median, p95 = np.quantile(milliseconds, (0.5, 0.95))
    return Latency(median_ms=float(median), p95_ms=float(p95), runs=len(milliseconds))


def _session(path: str | os.PathLike[str], threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # warnings are about internal graph optimisations
    try:
        return onnxruntime.InferenceSession(str(Path(path)), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions have no common base class
        reason = first_line(cause)
        remedy = "Export it again; the file is missing, truncated or not an ONNX model"
        raise ExportError(f"onnxruntime cannot load it ({reason})", field=str(path), remedy=remedy) from cause


def _run(
    session: onnxruntime.InferenceSession,
    inputs: dict[str, npt.NDArray[np.float32]],
    path: str | os.PathLike[str],
) -> npt.NDArray[np.float32]:
    try:
        logits: npt.NDArray[np.float32] = session.run(None, inputs)[0]
    except Exception as cause:
        reason = first_line(cause)
        remedy = "Use the dataset that the model was trained on"
        raise ExportError(
            f"the model does not take these images ({reason})", field=str(path), remedy=remedy
        ) from cause
    return logits
