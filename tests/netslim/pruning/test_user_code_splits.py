"""Splits and slices by constants: dual paths, mixed convolutions; the report names what a constant holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from tests.helpers.networks import conv
from tests.helpers.proof import settled
from tests.helpers.user_code import IMAGES, prove_user_code


def pre(inputs: int, outputs: int, size: int = 1, groups: int = 1) -> nn.Sequential:
    """BatchNorm, ReLU, convolution."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), layer)


class DualPath(nn.Module):
    """A block of DPN: the first channels are added to a residual path, the others join a dense path."""

    def __init__(self, inputs: int, residual: int, dense: int, project: bool) -> None:
        super().__init__()
        self.residual = residual
        self.project = pre(inputs, residual + dense) if project else None
        self.a, self.b, self.c = pre(inputs, 8), pre(8, 8, 3, groups=2), pre(8, residual + dense)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        joined = torch.cat(x, 1) if isinstance(x, tuple) else x
        if self.project is None:
            first, second = x
        else:
            y = self.project(joined)
            first, second = y[:, : self.residual], y[:, self.residual :]
        y = self.c(self.b(self.a(joined)))
        return first + y[:, : self.residual], torch.cat([second, y[:, self.residual :]], 1)


class DualPaths(nn.Module):
    def __init__(self, block: type[DualPath] = DualPath) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.blocks = nn.Sequential(block(8, 12, 4, True), block(20, 12, 4, False))
        self.last, self.out = nn.BatchNorm2d(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat(self.blocks(self.stem(x)), 1)
        return self.out(F.relu(self.last(y)).mean((2, 3)))


class Literal(DualPath):
    """The same with the number in the code."""

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        joined = torch.cat(x, 1) if isinstance(x, tuple) else x
        y = self.project(joined) if self.project is not None else torch.cat(x, 1)
        z = self.c(self.b(self.a(joined)))
        return y[:, :12] + z[:, :12], torch.cat([y[:, 12:], z[:, 12:]], 1)


class Mixed(nn.Module):
    """MixConv: parts of the channels go through depthwise kernels of different sizes."""

    def __init__(self, divide: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.parts, self.part, self.two = [6, 6], 6, (6, 12)
        self.divide, self.a, self.norm, self.b = divide, conv(3, 12), nn.BatchNorm2d(12), conv(12, 16, 1)
        self.kernels = nn.ModuleList(
            [nn.Conv2d(6, 6, k, padding=k // 2, groups=6, bias=False) for k in (3, 5)]
        )
        self.out = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.divide(self, self.a(x))
        y = torch.cat([kernel(part) for kernel, part in zip(self.kernels, parts, strict=True)], 1)
        return self.out(self.b(F.relu(self.norm(y))).mean((2, 3)))


def mixed(divide: Callable[[Any, Tensor], Any]) -> Callable[[], nn.Module]:
    return lambda: Mixed(divide)


# code, whether a constant holds channels back
CODE: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "dual paths, numbers in the code": (lambda: DualPaths(Literal), True),
    "dual paths, numbers in attributes": (DualPaths, False),
    "split by constants": (mixed(lambda n, y: torch.split(y, [6, 6], 1)), True),
    "split by a constant": (mixed(lambda n, y: y.split(6, dim=1)), True),
    "slices": (mixed(lambda n, y: (y[:, :6], y[:, 6:])), True),
    "narrow": (mixed(lambda n, y: (y.narrow(1, 0, 6), y.narrow(1, 6, 6))), True),
    "chunk": (mixed(lambda n, y: y.chunk(2, 1)), False),
    "split by the width": (mixed(lambda n, y: y.split(y.shape[1] // 2, 1)), False),
    "split by attributes": (mixed(lambda n, y: torch.split(y, n.parts, 1)), False),
    "split by an attribute": (mixed(lambda n, y: y.split(n.part, 1)), False),
    "slices by an attribute": (mixed(lambda n, y: (y[:, : n.part], y[:, n.part :])), False),
    "slices by a tuple": (mixed(lambda n, y: (y[:, : n.two[0]], y[:, n.two[0] : n.two[1]])), False),
    "an attribute with another use": (
        mixed(lambda n, y: [part / n.part for part in (y[:, : n.part], y[:, n.part :])]),
        True,
    ),
    "an attribute in a view": (
        mixed(lambda n, y: (y[:, : n.part].reshape(len(y), n.part, 8, 8), y[:, n.part :])),
        True,
    ),
    "an attribute in zeros": (
        mixed(lambda n, y: (y[:, : n.part] + torch.zeros(n.part, 1, 1, dtype=y.dtype), y[:, n.part :])),
        True,
    ),
}


REASONS = "a constant (index|size)|is used otherwise|tensors of known and unknown channels meet"


@pytest.mark.parametrize("name", CODE)
def test_half_is_reached_and_what_a_number_holds_back_is_named(name: str) -> None:
    make, held = CODE[name]
    for policy, result in prove_user_code(make, IMAGES, control=not held).items():
        report = result.report
        reasons = [row.why for row in report.rows] if policy == "group" else list(report.held_back)
        named = [why for why in reasons if re.search(REASONS, why)]
        if policy == "group" or not held:  # else a BatchNorm may need each channel that is held
            assert bool(named) == held, str(report)
        if policy != "group":
            assert report.reached.startswith("50.0%")
            assert [f"held back: {why}" for why in reasons] == list(report.summary[2:])
        elif not held:
            assert not report.limits


def test_the_attributes_of_the_slim_network_are_changed_and_those_of_the_wide_one_are_not() -> None:
    make, _ = CODE["split by attributes"]
    torch.manual_seed(0)
    wide = settled(make(), IMAGES)
    result = netslim.prune(wide, IMAGES, policy="group")
    widths = [kernel.weight.shape[0] for kernel in result.model.kernels]  # type: ignore[union-attr]
    assert result.model.parts == widths
    assert wide.parts == [6, 6]
    again = netslim.prune(result.model, IMAGES, percent=0.25, policy="group")
    both = netslim.apply_plan(wide, result.plan.then(again.plan))
    assert both.parts == [kernel.weight.shape[0] for kernel in both.kernels]  # type: ignore[union-attr]


def test_a_plan_for_other_attributes_is_refused() -> None:
    make, _ = CODE["split by attributes"]
    plan = netslim.prune(make().eval(), IMAGES.float(), policy="group").plan
    other = make()
    other.parts = [4, 4, 4]  # type: ignore[assignment]
    with pytest.raises(ModelError, match="its attribute parts does not hold 2 numbers"):
        netslim.apply_plan(other, plan)
