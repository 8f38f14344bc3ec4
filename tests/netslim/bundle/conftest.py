"""A bundle from the pipeline's own steps, of a network that was pruned but never trained."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import torch

import netslim
from netslim import data, models
from netslim.bundle.assemble import assemble
from netslim.models import artifact
from netslim.results.run_results import RunResults
from netslim.steps.export import export_step
from netslim.steps.step_record import read_step_records
from tests.helpers.results import pass_result


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "digits"
    data.prepare("digits", folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    """The bundle. Tests must not change it."""
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    architecture = models.resolve("vgg-digits", num_classes=10, in_channels=1, image_size=(8, 8))
    wide = models.build(architecture)
    for layer in wide.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.2, 1)
    pruned = netslim.prune(wide, torch.zeros(1, 1, 8, 8), percent=0.5)
    artifact.save_model(folder / "model", pruned.model, architecture, pruned.plan)
    export_step(dataset, folder / "model", folder / "onnx", pass_index=1)
    facts = read_step_records(folder / "onnx")["export"].facts
    row = pass_result(
        1,
        test=90.0,
        onnx_bytes=facts["bytes"],
        onnx_sha256=facts["sha256"],
        measured_at=time.time_ns() // 10**6,
        channels=facts["channels"],
        params=facts["params"],
        macs=facts["macs"],
        latency_ms={1: 0.1, 32: 1.0},
    )
    return assemble(
        folder / "onnx",
        folder / "bundle",
        RunResults((row,), {"architecture": "vgg"}),
        data.open_dataset(dataset).info,
        onnx_weights=facts["weights"],
        int8=facts["int8"],
    )


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "bundle"))
