"""Step export_onnx: write the trained network as one ONNX file, and the bundle's static files."""

from __future__ import annotations

import json
import os
from dataclasses import replace

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
from netslim.results.measures import Size
from netslim.steps.step_metrics import ExportMetrics
from netslim.steps.step_record import StepRecord, read_step_records
from netslim.storage.atomic import atomic_directory, write_json
from netslim.storage.digests import write_digests

__all__ = ["export_step"]


def export_step(
    dataset: str | os.PathLike[str],
    start: str | os.PathLike[str],
    onnx: str | os.PathLike[str],
    *,
    pass_index: int,
    architecture: str = "",
) -> ExportMetrics:
    """Export the model artifact `start` to `onnx`/model.onnx, with labels, samples, int8 and step records.

    Args:
        dataset: a packed dataset: its classes and normalisation are written into the files.
        pass_index: number of the pass, written into the metadata of the ONNX file.
        architecture: the run's network. If it is package.module:factory, that code may be run.

    Raises:
        ModelError: the network is made by code that is not `architecture`.
        ExportError: the ONNX file does not compute what the PyTorch model computes.
    """
    packed = data.open_dataset(dataset)
    info = packed.info
    stored = artifact.load_model(start, allow_factory=architecture)
    assert stored.architecture is not None  # load_model got no network
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
        if report.note:
            print(f"note: {report.note}", flush=True)
        bar.advance(bytes=report.bytes)
        export_contents(folder, info, stored.plan)
        write_preprocessing_model(folder, info)
        pixels = packed.split("test").images[:SAMPLE_IMAGES]
        with torch.no_grad():
            logits = stored.model.cpu().eval()(torch.from_numpy(normalise(pixels, info)))
        write_samples(folder, pixels, logits.numpy(), info)
        bar.advance()
        int8 = quantize(folder, packed)
        metrics = ExportMetrics(
            size=Size(channels=cost.channels, params=cost.params, macs=cost.macs),
            layer_macs={layer.name: layer.macs for layer in cost.layers if layer.macs},
            onnx_bytes=report.bytes,
            onnx_sha256=report.sha256,
            onnx_weights=report.weights,
            opset=report.opset,
            difference=report.difference,
            int8=int8.to_json(),
        )
        records = replace(read_step_records(start), export=StepRecord(metrics))
        for name, document in records.to_json_files().items():
            write_json(folder / name, document)
        write_digests(folder)
        bar.advance()
    return metrics
