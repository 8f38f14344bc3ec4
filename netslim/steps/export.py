"""Step export_onnx: the trained network as one ONNX file that says what it is."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

import netslim
from netslim import data, progress, store
from netslim.export import export_onnx
from netslim.files import atomic_directory
from netslim.steps.evidence import Evidence, write_evidence

__all__ = ["FILE", "export_step"]

FILE = "model.onnx"


def export_step(
    dataset: str | os.PathLike[str],
    start: str | os.PathLike[str],
    onnx: str | os.PathLike[str],
    evidence: str | os.PathLike[str],
    *,
    pass_index: int,
) -> dict[str, float]:
    """Write `onnx`/model.onnx from the model artifact `start`, and the evidence.

    Returns:
        The evidence's plain numbers.
    """
    info = data.open_dataset(dataset).info
    stored = store.load_model(start)
    shape = (info.channels, *info.image_size)
    cost = netslim.count(stored.model, torch.zeros(1, *shape))
    metadata = {
        "architecture": json.dumps(stored.architecture.to_json()),
        "dataset": info.title,
        "classes": json.dumps(info.classes),
        "input": json.dumps({"mean": info.mean, "std": info.std, "layout": "NCHW", "scale": "0..1"}),
        "params": str(cost.params),
        "macs": str(cost.macs),
        "flops": str(cost.flops),
        "pass": str(pass_index),
        "plan_digest": stored.plan.digest,
        "netslim_version": netslim.__version__,
    }
    with progress.bar("exporting", 1) as bar:
        with atomic_directory(onnx) as folder:
            report = export_onnx(stored.model, folder / FILE, example_shape=shape, metadata=metadata)
        bar.advance(bytes=report.bytes)
    facts: dict[str, Any] = {
        "channels": cost.channels,
        "params": cost.params,
        "macs": cost.macs,
        "flops": cost.flops,
        **{name: value for name, value in report.to_json().items() if name not in ("path", "params")},
    }
    return write_evidence(evidence, Evidence(facts)).numbers()
