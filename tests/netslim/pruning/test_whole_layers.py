"""Layers of a user's code that must stay whole, and operations without a rule: exact, and in the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from tests.helpers.networks import Chain
from tests.helpers.proof import masked, outputs, prove, relative, settled

IMAGES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Doubled(nn.Conv2d):
    """Somebody's own convolution, which computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.BatchNorm2d):
    """Somebody's own name for BatchNorm."""


def test_subclasses_are_followed_by_what_they_compute() -> None:
    torch.manual_seed(0)
    model: Any = settled(Chain(), IMAGES.double())
    own = Doubled(8, 10, 3, padding=1, bias=False)
    own.load_state_dict(model.b[0].state_dict())
    norm = Named(10)
    norm.load_state_dict(model.b[1].state_dict())
    model.b[0], model.b[1] = own, norm
    model = settled(model, IMAGES.double())
    result = netslim.prune(model, IMAGES.double(), percent=0.5, compensate=False)
    assert type(result.model.b[0]) is Doubled
    assert type(result.model.b[1]) is Named
    truth = outputs(masked(model, result.plan.kept), IMAGES.double())
    assert relative(outputs(result.model, IMAGES.double()), truth) < 1e-11


class Odd(nn.Module):
    """One convolution whose channels are used in a way that depends on `use`."""

    def __init__(self, use: Callable[[Odd, Tensor], Tensor]) -> None:
        super().__init__()
        self.use = use
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.last, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.use(self, self.norm(self.first(x)))
        return self.head(self.last(self.second(x)).relu().mean((2, 3)))


ODD: dict[str, Callable[[Odd, Tensor], Tensor]] = {
    "one by number": lambda model, x: x + x[:, 2:3] * 2,
    "their count": lambda model, x: x * (x.shape[1] / 8),
    "their order": lambda model, x: x.sort(dim=1).values,
    "their largest": lambda model, x: x - x.amax(1, keepdim=True),
    "their spectrum": lambda model, x: torch.fft.fft(x, dim=1).real,
}


@pytest.mark.parametrize("name", ODD)
def test_an_operation_without_a_rule_gets_all_its_channels(name: str) -> None:
    """Removed channels come back as zeros before it; convolution and BatchNorm are narrower all the same."""
    torch.manual_seed(0)
    model = settled(Odd(ODD[name]), IMAGES.double())
    result = prove(model, IMAGES.double(), percent=0.5, control=name != "their order")
    assert result.model.second.in_channels == 8
    assert result.model.first.out_channels == len(result.plan.kept["norm"]) < 8


def test_what_must_stay_is_frozen_and_the_report_says_where() -> None:
    """Here the factors themselves are read; without them the code would compute something else."""
    torch.manual_seed(0)
    use: Callable[[Odd, Tensor], Tensor] = lambda model, x: x * model.norm.weight.sum()  # noqa: E731
    result = prove(settled(Odd(use), IMAGES.double()), IMAGES.double(), percent=0.3)
    assert result.plan.kept.keys() == {"last"}
    (row,) = (row for row in result.report.rows if row.layer == "norm")
    assert row.before == row.after == 8
    assert row.why == f"frozen: sum at test_whole_layers.py:{use.__code__.co_firstlineno}"


class Tied(nn.Module):
    """Two BatchNorms that have some of their vectors in common."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.a, self.one = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.b, self.two = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.c, self.last, self.head = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 5)
        for name in names:
            setattr(self.two, name, getattr(self.one, name))

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.b(self.one(self.a(x)).relu())).relu()
        return self.head(self.last(self.c(x)).relu().mean((2, 3)))


@pytest.mark.parametrize("names", [("weight",), ("bias",), ("weight", "bias")])
def test_batchnorms_that_share_a_vector_stay_whole(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    result = prove(settled(Tied(*names), IMAGES.double()), IMAGES.double(), percent=0.3)
    assert result.plan.kept.keys() == {"last"}
    assert not result.report.notes
    assert all("factors" in row.why for row in result.report.rows if row.layer != "last")
