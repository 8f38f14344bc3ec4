"""Step export_onnx: the trained network as one ONNX file, and the part of a bundle that follows from it."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

import netslim
from netslim import data, progress
from netslim.bundle.contents import SAMPLE_IMAGES, export_contents, write_samples
from netslim.bundle.layout import MODEL
from netslim.bundle.preprocessing import write_preprocessing_model
from netslim.bundle.quantization import quantize
from netslim.data.normalisation import normalise
from netslim.models import artifact
from netslim.onnx_export.export import export_onnx
from netslim.steps.step_record import StepRecord, read_step_records, to_json_files
from netslim.storage.atomic import atomic_directory, write_json

__all__ = ["export_step"]


def export_step(
    dataset: str | os.PathLike[str],
    start: str | os.PathLike[str],
    onnx: str | os.PathLike[str],
    *,
    pass_index: int,
) -> dict[str, float]:
    """Write `onnx`/model.onnx and what follows from it, from the model artifact `start`, with the evidence.

    Returns:
        The evidence's plain numbers.
    """
    packed = data.open_dataset(dataset)
    info = packed.info
    stored = artifact.load_model(start)
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
    with progress.bar("exporting", 3) as bar, atomic_directory(onnx) as folder:
        report = export_onnx(stored.model, folder / MODEL, example_shape=shape, metadata=metadata)
        bar.advance(bytes=report.bytes)
        export_contents(folder, info, stored.plan)
        write_preprocessing_model(folder, info)
        pixels = packed.split("test").images[:SAMPLE_IMAGES]
        with torch.no_grad():
            logits = stored.model.cpu().eval()(torch.from_numpy(normalise(pixels, info)))
        write_samples(folder, pixels, logits.numpy(), info)
        bar.advance()
        int8 = quantize(folder, packed)
        facts: dict[str, Any] = {
            "channels": cost.channels,
            "params": cost.params,
            "macs": cost.macs,
            "flops": cost.flops,
            "layer_macs": {layer.name: layer.macs for layer in cost.layers if layer.macs},
            "int8": int8.to_json(),
            **{name: value for name, value in report.to_json().items() if name not in ("path", "params")},
        }
        testimony = StepRecord(facts)
        known = {**read_step_records(start), "export": testimony}
        for name, document in to_json_files(known).items():
            write_json(folder / name, document)
        bar.advance()
    return testimony.numbers()
