"""The part of a bundle that has to be measured: what evaluate adds to what export_onnx wrote."""

from __future__ import annotations

import os
import platform
import shutil
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
    seal,
)
from netslim.bundle.model_card import model_card, versions
from netslim.results.run_results import RunResults, Size
from netslim.storage.atomic import atomic_directory, write_json

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["assemble"]

STATIC = (MODEL, PREPROC, INT8, LABELS, SIGNATURE, SLIMMING, SAMPLES)


def assemble(
    exported: str | os.PathLike[str],
    bundle: str | os.PathLike[str],
    ledger: RunResults,
    info: DatasetInfo,
    facts: dict[str, Any],
) -> Path:
    """Make the bundle of the ledger's last pass at `bundle`, whole or not at all.

    Args:
        exported: the folder that export_onnx wrote; it is only read.
        facts: what the export step says about its files.
    """
    row, wide, reference = ledger.rows[-1], ledger.wide, ledger.allowed_from
    with atomic_directory(bundle) as folder:
        for name in STATIC:
            if (source := Path(exported, name)).is_file():
                shutil.copyfile(source, folder / name)
        metrics = {
            "pass": row.index,
            "model": _size(row),
            "wide": _size(wide) if wide else None,
            "error": row.error,
            "error_val": row.error_val,
            "error_allowed_from": {"what": reference[0], "error": reference[1]} if reference else None,
            "test_images": info.sizes["test"],
            "onnx_bytes": row.onnx_bytes,
            "onnx_sha256": row.onnx_sha256,
            "onnx_weights": facts["weights"],
            "int8": facts["int8"],
            "settings": dict(ledger.constants),
            "versions": versions(),
        }
        write_json(folder / METRICS, metrics)
        batches = {
            str(batch): {"median_ms": ms, "p95_ms": row.latency_p95_ms.get(batch)}
            for batch, ms in row.latency_ms.items()
        }
        runtime = f"onnxruntime {version('onnxruntime')}"
        measured_on = {"runtime": runtime, "threads": 1, "machine": platform.machine(), "cpu": _cpu()}
        write_json(folder / LATENCY, {**measured_on, "batches": batches})
        (folder / CARD).write_text(model_card(row, ledger, info, facts["int8"]), encoding="utf-8")
        seal(folder)
    return Path(bundle)


def _size(size: Size) -> dict[str, int]:
    return {name: getattr(size, name) for name in ("channels", "params", "macs", "flops")}


def _cpu() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
