"""A rule that the module of a user's factory registers is known in each step that builds the network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from netslim import models
from netslim.models.artifact import load_model, save_model
from netslim.nn.own_rules import FUNCTIONS
from netslim.pruning.options import PruningOptions
from netslim.pruning.plan import Plan
from netslim.steps.prune import prune_step

CODE = """
import netslim, torch
from torch import nn

class Positive(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy().clip(0))

netslim.register_rule(Positive, torch.relu)

class Activation(nn.Module):
    def forward(self, x):
        return Positive.apply(x)

def small(num_classes):
    layers = nn.Linear(64, 8), nn.BatchNorm1d(8), Activation(), nn.Linear(8, num_classes)
    return nn.Sequential(nn.Flatten(), *layers)
"""


@pytest.mark.usefixtures("no_rules")
def test_the_step_prune_follows_a_rule_of_the_factorys_module(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net_with_a_rule.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    factory = "net_with_a_rule:small"
    architecture = models.resolve(factory, num_classes=10, in_channels=1, image_size=(8, 8))
    torch.manual_seed(0)
    save_model(tmp_path / "wide", models.build(architecture), architecture, Plan.empty())
    del sys.modules["net_with_a_rule"]  # as in the step's own process
    FUNCTIONS.clear()
    prune_step(dataset, tmp_path / "wide", tmp_path / "slim", PruningOptions(), architecture=factory)
    layer = load_model(tmp_path / "slim", allow_factory=factory).model.get_submodule("4")
    assert isinstance(layer.weight, Tensor)
    assert layer.weight.shape == (10, 4)
