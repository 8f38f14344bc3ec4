"""Steps call only the code that their run was given as its network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from netslim import models
from netslim.errors import ModelError
from netslim.models.artifact import save_model
from netslim.pruning.options import PruningOptions
from netslim.pruning.plan import Plan
from netslim.steps.export import export_step
from netslim.steps.prune import prune_step
from netslim.steps.run_training import run_training
from netslim.steps.training_request import TrainingRequest

FACTORY = "nets_of_a_user:small"

Step = Callable[[Path, Path, Path, str], object]


def training(stage: str) -> Step:
    def run(dataset: Path, start: Path, out: Path, architecture: str) -> object:
        request = TrainingRequest(
            stage=stage,
            dataset=str(dataset),
            model=str(out),
            architecture=architecture,
            preset="digits",
            recipe_overrides={"epochs": 1, "batch_size": 500},
            seed=0,
            pass_index=1,
            start=str(start),
        )
        return run_training(request)

    return run


STEPS: dict[str, Step] = {
    "sparse training": training("sparse"),
    "fine-tuning": training("fine_tune"),
    "prune": lambda dataset, start, out, network: prune_step(
        dataset, start, out, PruningOptions(percent=0.25), architecture=network
    ),
    "export": lambda dataset, start, out, network: export_step(
        dataset, start, out, pass_index=1, architecture=network
    ),
}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model artifact that the module `nets_of_a_user` makes."""
    (tmp_path / "nets_of_a_user.py").write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(),\n"
        "                         nn.Linear(8, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nets_of_a_user", raising=False)
    architecture = models.resolve(FACTORY, num_classes=10, in_channels=1, image_size=(8, 8))
    torch.manual_seed(0)
    save_model(tmp_path / "network", models.build(architecture), architecture, Plan.empty())
    return tmp_path / "network"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("given", ["", "vgg-digits", "nets_of_a_user:other"])
def test_a_step_refuses_the_code_of_another_network(
    step: str, given: str, network: Path, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=f"built by the Python code {FACTORY}, which is not allowed to run"):
        STEPS[step](dataset, network, tmp_path / "out", given)
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_another_network_is_refused(network: Path, dataset: Path, tmp_path: Path) -> None:
    architecture = models.resolve("vgg-digits", num_classes=10, in_channels=1, image_size=(8, 8))
    save_model(tmp_path / "start", models.build(architecture), architecture, Plan.empty())
    request = TrainingRequest(
        stage="fine_tune",
        dataset=str(dataset),
        model=str(tmp_path / "out"),
        start=str(tmp_path / "start"),
        teacher=str(network),
        architecture="vgg-digits",
        preset="digits",
        recipe_overrides={"epochs": 1, "distill": 0.5},
        seed=0,
        pass_index=1,
    )
    with pytest.raises(ModelError, match="not allowed to run"):
        run_training(request)


@pytest.mark.parametrize("step", ["sparse training", "prune"])
def test_a_step_calls_the_code_of_its_run(step: str, network: Path, dataset: Path, tmp_path: Path) -> None:
    STEPS[step](dataset, network, tmp_path / "out", FACTORY)
    assert (tmp_path / "out" / "weights.safetensors").exists()
