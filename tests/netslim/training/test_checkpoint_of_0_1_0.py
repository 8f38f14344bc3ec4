"""A checkpoint that version 0.1.0 wrote after 7 of 18 steps is used to finish its training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from netslim import progress
from netslim.training.checkpoint import Checkpoints
from netslim.training.signals import Stop
from netslim.training.trainer import Trainer
from tests.helpers.corners import corners, recipe

DATA = Path(__file__).parents[2] / "data" / "0.1.0" / "checkpoint"
RECIPE = recipe(lambda_=0.01, penalty="proximal", select="val")
SEED = 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)).to(
        memory_format=torch.channels_last
    )


def test_a_training_of_version_0_1_0_is_finished(tmp_path: Path) -> None:
    (file,) = DATA.iterdir()
    with safe_open(file, framework="pt") as content:
        identity = json.loads(content.metadata()["netslim"])["identity"]
    assert identity["recipe"] == RECIPE.identity()
    shutil.copytree(DATA, tmp_path / "kept")
    (tmp_path / "data").mkdir()
    dataset = corners(tmp_path / "data")

    def trained(checkpoints: Checkpoints | None) -> tuple[nn.Module, int, list[dict[str, float]]]:
        model, device = network(), torch.device("cpu")
        torch.manual_seed(SEED)
        trainer = Trainer(
            model, dataset, RECIPE, seed=SEED, teacher=None, device=device, checkpoints=checkpoints
        )
        resumed_at = trainer.resume()
        with progress.bar("training", 18) as bar:
            trainer.fit(bar, Stop(), None)
        return model, resumed_at, trainer.history.rows

    checkpoints = Checkpoints(tmp_path / "kept", identity)
    resumed, step, history = trained(checkpoints)
    unbroken, _, expected = trained(None)
    assert (step, checkpoints.refused) == (7, [])
    assert [{**row, "ts": 0}.keys() for row in history] == [row.keys() for row in expected]
    assert [row["val/error"] for row in history] == [row["val/error"] for row in expected]
    for name, tensor in unbroken.state_dict().items():  # computed on another machine, so not bit for bit
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
