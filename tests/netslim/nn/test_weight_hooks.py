"""Weights that hooks compute become plain parameters of the same values, which are pruned and trained."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import netslim
from netslim.errors import ModelError
from netslim.pruning.plan import Plan
from tests.helpers.proof import outputs, relative, settled

IMAGES = torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    def __init__(self, wrap: Callable[[nn.Conv2d], Any]) -> None:
        super().__init__()
        self.a, self.n = wrap(nn.Conv2d(3, 8, 3, padding=1)), nn.BatchNorm2d(8)
        self.b, self.m, self.head = wrap(nn.Conv2d(8, 12, 3)), nn.BatchNorm2d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.m(self.b(F.relu(self.n(self.a(x)))))).mean((2, 3)))


KINDS: dict[str, tuple[Callable[[nn.Conv2d], Any], bool]] = {
    "weight_norm": (lambda layer: weight_norm(layer), True),
    "weight_norm over all axes": (lambda layer: weight_norm(layer, dim=None), True),  # type: ignore[arg-type]
    "spectral_norm": (lambda layer: spectral_norm(layer), True),
    "mask": (lambda layer: prune.random_unstructured(layer, "weight", amount=0.3), True),
    "two masks": (lambda layer: prune.l1_unstructured(prune.identity(layer, "bias"), "weight", 5), True),
    "parametrized weight_norm": (lambda layer: parametrizations.weight_norm(layer), False),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("name", KINDS)
def test_the_slim_network_is_exact_and_every_parameter_is_trained(name: str) -> None:
    wrap, hooked = KINDS[name]
    torch.manual_seed(0)
    wide = settled(Net(wrap), IMAGES)
    before = outputs(wide, IMAGES)
    same = netslim.prune(wide, IMAGES, percent=0)
    assert relative(outputs(same.model, IMAGES), before) < 1e-12
    result = netslim.prune(wide, IMAGES, percent=0.5, verify=True)
    assert result.plan.kept
    assert any("hook, and plain" in n and "a.weight" in n for n in result.report.notes) == hooked
    assert torch.equal(outputs(wide, IMAGES), before)
    slim = result.model.train()
    slim(IMAGES).square().mean().backward()
    assert all(parameter.grad is not None for parameter in slim.parameters())
    torch.manual_seed(1)
    fresh = netslim.apply_plan(
        Net(wrap).double(), Plan.from_json(json.loads(json.dumps(result.plan.to_json())))
    )
    fresh.load_state_dict(result.model.state_dict())
    assert torch.equal(outputs(fresh.eval(), IMAGES), outputs(result.model.eval(), IMAGES))


def test_a_hook_of_another_kind_is_refused_by_name() -> None:
    def halve(module: Any, inputs: Any) -> None:
        module.weight = module.full / 2

    def wrap(layer: Any) -> nn.Conv2d:
        layer.full = copy.deepcopy(layer.weight)
        del layer.weight
        layer.weight = layer.full / 2
        layer.register_forward_pre_hook(halve)
        wrapped: nn.Conv2d = layer
        return wrapped

    with pytest.raises(ModelError, match=r"a\.weight: it is computed by a hook"):
        netslim.prune(Net(wrap), IMAGES.float())
