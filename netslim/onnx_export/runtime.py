"""Error and latency of an ONNX file in onnxruntime: what a user of the model gets. No torch here."""

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

from netslim.errors import ExportError, first_line

if TYPE_CHECKING:
    import onnxruntime

    from netslim.data import DatasetInfo, Split

__all__ = ["Latency", "error", "input_shape", "latencies", "latency", "normalise"]

WARM_UP = 3  # the first runs allocate memory and choose kernels


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds for one batch: half of the runs were faster than `median_ms`, 95 % than `p95_ms`."""

    median_ms: float
    p95_ms: float
    runs: int


def normalise(images: npt.NDArray[np.uint8], info: DatasetInfo) -> npt.NDArray[np.float32]:
    """Pixels uint8 [N, H, W, C] to what the model takes: float32 [N, C, H, W], (x / 255 - mean) / std."""
    mean = np.asarray(info.mean, np.float32)
    std = np.asarray(info.std, np.float32)
    scaled = images.astype(np.float32) * (1 / (255 * std)) - mean / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)


def error(
    path: str | os.PathLike[str],
    split: Split,
    info: DatasetInfo,
    *,
    batch_size: int | None = None,
    threads: int = 0,
) -> float:
    """Test error in percent: the share of images whose largest logit is not that of their label.

    Args:
        path: the ONNX file.
        split: images uint8 [N, H, W, C] and labels int64 [N].
        info: the dataset's mean and std per channel.
        batch_size: images per run; it changes speed and memory, not the result. By default as many as a
            laptop's memory holds with what a wide network makes of them, 256 at most.
        threads: of onnxruntime; 0 leaves it to its own choice, one per core.

    Raises:
        ExportError: the file cannot be loaded, does not fit the images, or gives NaN or infinite logits.
    """
    session = _session(path, threads)
    name = session.get_inputs()[0].name
    if batch_size is None:
        batch_size = info.batch_of(2**18, least=8, most=256)
    wrong = 0
    for start in range(0, len(split.labels), batch_size):
        images = normalise(split.images[start : start + batch_size], info)
        logits = _run(session, {name: images}, path)
        if not np.isfinite(logits).all():
            raise ExportError(
                f"the model gives NaN or infinite logits from image {start} on",
                field=str(path),
                remedy="Training diverged: lower the learning rate or lambda",
            )
        wrong += int((logits.argmax(1) != split.labels[start : start + batch_size]).sum())
    return 100 * wrong / len(split.labels)


def latency(
    path: str | os.PathLike[str],
    input_shape: tuple[int, int, int],
    *,
    batch_sizes: Sequence[int] = (1, 32),
    threads: int = 1,
    seconds: float = 0.3,
) -> dict[int, Latency]:
    """Time whole runs of the file on random images (C, H, W), by batch size.

    Few threads make numbers that can be compared between machines and models; a busy machine still shows in
    `p95_ms`. Batch sizes take turns, so that a disturbance hits them alike; each gets about `seconds`.

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
    """`latency` of several files with their input shapes (C, H, W); the files take turns as well.

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
            for _ in range(WARM_UP):
                _run(session, inputs, path)
            runs[path, n] = partial(session.run, None, inputs)
    times: dict[tuple[Path, int], list[float]] = {key: [] for key in runs}
    spent = dict.fromkeys(runs, 0.0)
    while pending := [key for key in runs if spent[key] < seconds or len(times[key]) < WARM_UP]:
        for key in pending:
            start = time.perf_counter()
            runs[key]()
            times[key].append(time.perf_counter() - start)
            spent[key] += times[key][-1]
    return {path: {n: _summary(np.array(times[path, n]) * 1000) for n in batch_sizes} for path in models}


def input_shape(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """(C, H, W) of one image, as the file says.

    Raises:
        ExportError: the file cannot be loaded, or takes something else than float images [batch, C, H, W].
    """
    given = _session(path, 1).get_inputs()[0]
    shape = tuple(given.shape)
    if given.type != "tensor(float)" or len(shape) != 4 or not all(isinstance(n, int) for n in shape[1:]):
        remedy = "Give model.onnx of a bundle"
        raise ExportError(
            f"takes {given.type} {list(shape)}, no float images", field=str(path), remedy=remedy
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
    options.log_severity_level = 3  # its warnings are about its own graph optimisations
    try:
        return onnxruntime.InferenceSession(str(Path(path)), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions share no base of their own
        reason = first_line(cause)
        remedy = "Export it again; the file is missing, truncated or no ONNX model"
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
