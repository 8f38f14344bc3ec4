"""Grouped convolutions over several passes: plans of passes that reach one channel a group, in one plan."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError
from netslim.pruning.plan import ChannelIndex, LayerEdit, Plan
from netslim.pruning.slicing import kept_groups
from tests.helpers.networks import conv
from tests.helpers.proof import masked, outputs, relative, settled

IMAGES = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Grouped(nn.Module):
    """A grouped convolution of any kind between two BatchNorms."""

    def __init__(self, layer: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.a, self.b, self.norm = conv(3, inputs), layer, nn.BatchNorm2d(outputs)
        self.head = nn.Linear(outputs, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.b(self.a(x)))).mean((2, 3)))


LAYERS: dict[str, tuple[nn.Module, int, int]] = {
    "2 of 2": (nn.Conv2d(4, 4, 3, groups=2), 4, 4),
    "8 of 2, no bias": (nn.Conv2d(16, 16, 3, groups=8, bias=False), 16, 16),
    "4 of 3, more outputs": (nn.Conv2d(12, 24, 3, groups=4), 12, 24),
    "transposed": (nn.ConvTranspose2d(16, 16, 3, groups=8), 16, 16),
    "depthwise, two outputs each": (nn.Conv2d(8, 16, 3, groups=8), 8, 16),
}


@pytest.mark.parametrize("name", LAYERS)
def test_four_passes_compose_into_one_plan(name: str) -> None:
    layer, inputs, width = LAYERS[name]
    torch.manual_seed(0)
    wide = settled(Grouped(copy.deepcopy(layer), inputs, width), IMAGES)
    model, plan = wide, Plan.empty()
    for _ in range(4):
        result = netslim.prune(model, IMAGES, percent=0.4, compensate=False)
        truth = outputs(masked(model, result.plan.kept), IMAGES)
        assert relative(outputs(result.model, IMAGES), truth) < 1e-11
        model, plan = result.model, plan.then(Plan.from_json(json.loads(json.dumps(result.plan.to_json()))))
        rebuilt = netslim.apply_plan(wide, plan)
        rebuilt.load_state_dict(model.state_dict())
        assert torch.equal(outputs(rebuilt, IMAGES), outputs(model, IMAGES))
    assert model.b.weight.shape[1] == 1
    assert model.b.groups == model.b.in_channels


def test_the_given_weights_are_sliced_as_well_as_the_shapes() -> None:
    """Not only the shapes: the composed plan leaves the weights that the passes left, one after the other."""
    torch.manual_seed(0)
    wide = settled(Grouped(nn.Conv2d(12, 24, 3, groups=4), 12, 24), IMAGES)
    first = netslim.prune(wide, IMAGES, percent=0.5, compensate=False)
    second = netslim.prune(first.model, IMAGES, percent=0.5, compensate=False)
    both = netslim.apply_plan(wide, first.plan.then(second.plan))
    assert torch.equal(both.get_parameter("b.weight"), second.model.get_parameter("b.weight"))


def test_groups_that_would_not_stay_equal_are_refused() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2)
    edit = LayerEdit(in_=ChannelIndex(4, torch.tensor([0, 1, 2]).numpy()))
    assert kept_groups(layer, edit) == 0
    with pytest.raises(ModelError, match="does not leave its 2 groups equally many channels"):
        netslim.apply_plan(nn.Sequential(layer), Plan({"0": edit}))
