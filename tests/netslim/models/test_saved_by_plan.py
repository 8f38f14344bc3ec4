"""A network that no factory makes is saved with its plan, and loaded with the user's own wide network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netslim
from netslim.errors import ModelError
from netslim.pruning.plan import Plan
from tests.helpers.small_models import trained


class Mine(nn.Module):
    """A network that no factory makes, as in a notebook."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, width, 3), nn.BatchNorm2d(width)
        self.next, self.last = nn.Conv2d(width, 9, 3), nn.BatchNorm2d(9)
        self.head = nn.Linear(9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.next(self.norm(self.conv(x)).relu())
        return self.head(self.last(x).relu().mean((2, 3)))


def two_passes() -> tuple[netslim.PruneResult, netslim.PruneResult]:
    torch.manual_seed(0)
    wide = Mine()
    for norm in (wide.norm, wide.last):
        nn.init.uniform_(norm.weight, 0.1, 1)
    first = netslim.prune(wide, torch.rand(2, 1, 8, 8), percent=0.3)
    return first, netslim.prune(first.model, torch.rand(2, 1, 8, 8), percent=0.3)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    first, second = two_passes()
    netslim.save(tmp_path / "mine", second.model, first.plan.then(second.plan))
    return tmp_path / "mine"


@pytest.mark.parametrize("wrap", [nn.Module.train, nn.DataParallel, torch.compile])
def test_without_a_factory_the_user_gives_the_wide_network(mine: Path, wrap: Any) -> None:
    wide = Mine()
    wide.norm.eval()
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    found = netslim.load_model(mine, wrap(wide))
    first, second = two_passes()
    assert found.architecture is None
    assert found.plan == first.plan.then(second.plan)
    assert type(found.model) is Mine
    assert not any(module.training for module in found.model.modules())
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(found.model(images), second.model.eval()(images))
    assert wide.conv.out_channels == 12
    assert wide.head.training
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())


def test_without_a_factory_and_a_network_the_error_says_what_to_give(mine: Path) -> None:
    for allow in (False, True):
        with pytest.raises(
            ModelError, match=r"saved without a factory.*load_model\('.*/mine', MyNet\(\)\)\.$"
        ):
            netslim.load_model(mine, allow_factory=allow)
    first, second = two_passes()
    plan = first.plan.then(second.plan)
    netslim.save(mine, second.model, plan, example_input=torch.rand(2, 1, 8, 8))
    with pytest.raises(ModelError, match=r"or run its program: torch.export.load\('.*/mine/program.pt2'\)"):
        netslim.load_model(mine)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mine(14), r"norm: the network has 14 outputs, the plan is for 12"),
        (lambda: trained("mlp")[0], r"the network has no such layer"),
        (lambda: Mine().double(), r"do not fit the network: conv.weight is float32\[.*\], not float64"),
        (lambda: Mine().to("meta"), r"model: conv.weight has no values"),
    ],
)
def test_another_network_is_refused(mine: Path, make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        netslim.load_model(mine, make())


@pytest.mark.parametrize("given", ["first", "of another network", "with another layer"])
def test_a_plan_that_does_not_lead_to_the_network_is_not_saved(tmp_path: Path, given: str) -> None:
    first, second = two_passes()
    plan = first.plan
    if given == "of another network":
        network = Mine(16)
        nn.init.uniform_(network.norm.weight, 0.1, 1)
        plan = netslim.prune(network, torch.rand(2, 1, 8, 8), percent=0.1).plan
    if given == "with another layer":
        plan = Plan({f"more.{path}": edit for path, edit in plan.layers.items()})
    message = r"norm: the network has \d+ outputs, the plan leaves \d+\. .* first.plan.then\(second.plan\)"
    with pytest.raises(ModelError, match=message if "layer" not in given else "network has no such layer"):
        netslim.save(tmp_path / "slim", second.model, plan)
    assert not list(tmp_path.iterdir())
