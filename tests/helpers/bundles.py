"""A bundle from the pipeline's own steps, of a network that was pruned but never trained."""

from __future__ import annotations

import time
from pathlib import Path

import torch

import netslim
from netslim import data, models
from netslim.bundle.assemble import assemble
from netslim.models import artifact
from netslim.results.run_results import RunResults
from netslim.steps.export import export_step
from tests.helpers.results import pass_result


def make_bundle(folder: Path, dataset: Path) -> Path:
    """Write the bundle of a small VGG into `folder`; returns its own folder there.

    Args:
        dataset: the folder of the prepared digits.
    """
    torch.manual_seed(0)
    architecture = models.resolve("vgg-digits", num_classes=10, in_channels=1, image_size=(8, 8))
    wide = models.build(architecture)
    for layer in wide.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.2, 1)
    pruned = netslim.prune(wide, torch.zeros(1, 1, 8, 8), percent=0.5)
    artifact.save_model(folder / "model", pruned.model, architecture, pruned.plan)
    exported = export_step(dataset, folder / "model", folder / "onnx", pass_index=1)
    result = pass_result(
        1,
        test=90.0,
        onnx_bytes=exported.onnx_bytes,
        onnx_sha256=exported.onnx_sha256,
        measured_at=time.time_ns() // 10**6,
        channels=exported.size.channels,
        params=exported.size.params,
        macs=exported.size.macs,
        latency_ms={1: 0.1, 32: 1.0},
    )
    return assemble(
        folder / "onnx",
        folder / "bundle",
        RunResults((result,), {"architecture": "vgg"}),
        data.open_dataset(dataset).info,
        onnx_weights=exported.onnx_weights,
        int8=exported.int8,
    )
