"""Assemble a bundle: the files of export_onnx, and what the step evaluate measured."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim.bundle.layout import (
    CARD,
    INT8,
    LABELS,
    LATENCY,
    METRICS,
    MODEL,
    PREPROC,
    SAMPLES,
    SIGNATURE,
    SLIMMING,
    write_checksums,
)
from netslim.bundle.model_card import model_card, versions
from netslim.results.measures import Latency, Size
from netslim.results.run_results import RunResults
from netslim.storage.atomic import atomic_directory, write_json

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["assemble"]

EXPORTED_FILES = (MODEL, PREPROC, INT8, LABELS, SIGNATURE, SLIMMING, SAMPLES)


def assemble(
    exported: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    results: RunResults,
    info: DatasetInfo,
    *,
    onnx_weights: int,
    int8: Mapping[str, Any],
) -> Path:
    """Write the bundle of the last pass of `results` to the new folder `bundle`, completely or not at all.

    Args:
        exported: the folder that export_onnx wrote; it is not changed.
        onnx_weights: the number of weights of convolutions and linear layers in model.onnx.
        int8: the `QuantizationResult` of the pass as JSON.
    """
    with atomic_directory(bundle) as folder:
        for name in EXPORTED_FILES:
            if (source := Path(exported, name)).is_file():
                shutil.copyfile(source, folder / name)
        metrics = {**_metrics(results, info), "onnx_weights": onnx_weights, "int8": dict(int8)}
        write_json(folder / METRICS, metrics)
        write_json(folder / LATENCY, _latency(results))
        (folder / CARD).write_text(model_card(results, info, int8), encoding="utf-8")
        write_checksums(folder)
    return Path(bundle)


def _metrics(results: RunResults, info: DatasetInfo) -> dict[str, Any]:
    last, wide, reference = results.rows[-1], results.reference_size, results.reference_error
    return {
        "pass": last.index,
        "model": _size(last.size),
        "wide": _size(wide) if wide else None,
        "error": last.errors.test,
        "error_val": last.errors.validation,
        "error_allowed_from": {"what": reference.name, "error": reference.error} if reference else None,
        "test_images": info.sizes["test"],
        "onnx_bytes": last.onnx_bytes,
        "onnx_sha256": last.onnx_sha256,
        "settings": dict(results.constants),
        "versions": versions(),
    }


def _latency(results: RunResults) -> dict[str, Any]:
    last = results.rows[-1]
    return {
        "runtime": f"onnxruntime {version('onnxruntime')}",
        "threads": 1,
        "machine": platform.machine(),
        "cpu": _cpu(),
        "batches": _batches(last.latency),
        # Measured in turns with the model: compare the two, and not the milliseconds of two bundles.
        "wide_batches": _batches(last.wide_latency),
        "times_faster": {str(batch): round(ratio, 3) for batch, ratio in last.speedup.items()},
    }


def _batches(latency: Mapping[int, Latency]) -> dict[str, dict[str, float | None]]:
    return {str(n): {"median_ms": one.median_ms, "p95_ms": one.p95_ms} for n, one in latency.items()}


def _size(size: Size) -> dict[str, int]:
    return {name: getattr(size, name) for name in ("channels", "params", "macs", "flops")}


def _cpu() -> str:
    """The processor's name from /proc/cpuinfo, or from `platform` where that file does not exist."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
