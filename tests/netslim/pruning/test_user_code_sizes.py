"""Sizes that are read from one tensor and used for another, compared, added or split by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.helpers.user_code import IMAGES, Around, Net, prove_user_code

TOKENS = torch.randn(3, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


class PreNorm(nn.Module):
    """A pre-norm block: the size of its input reshapes the output of its BatchNorm."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.norm, self.mix = how, nn.BatchNorm2d(12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.norm(x)
        if self.how == "reshape":
            y = y.reshape(b, c, -1)
        elif self.how == "unflatten":
            y = y.flatten(2).transpose(1, 2).flatten(1).unflatten(1, (-1, c)).transpose(1, 2)
        else:
            y = y.permute(0, 2, 3, 1).reshape(b, h * w, x.size(1)).transpose(1, 2)
        return x + self.mix(y.transpose(1, 2)).transpose(1, 2).reshape_as(x)


class Blocks(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 12, 3), PreNorm(how), PreNorm(how)
        self.last, self.out = nn.BatchNorm2d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.last(self.two(self.one(self.stem(x))))).mean((2, 3)))


class Tokens(nn.Module):
    def __init__(self, back: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.back, self.fc = back, nn.Linear(12, 16)
        self.norm, self.out = nn.BatchNorm1d(16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return self.out(self.back(self.norm(y.flatten(0, 1)), y))


class Gate(nn.Module):
    """Squeeze-and-excitation; `shape` brings the gate into the shape of the features."""

    def __init__(self, shape: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.shape = shape
        self.down, self.up = nn.Linear(12, 3, bias=False), nn.Linear(3, 12, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        gate = self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1).view(b, c))))
        return x * self.shape(self, torch.sigmoid(gate), x)


def compared(x: Tensor, y: Tensor) -> Tensor:
    assert x.shape == y.shape
    return x + y


def gated(shape: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Around(Gate(shape))


def split_back(y: Tensor) -> Tensor:
    """A concat, divided by the counts of what was joined."""
    a, b = y.relu(), y.tanh()
    first, second = torch.split(torch.cat([a, b], 1), [a.shape[1], b.shape[1]], 1)
    both = torch.cat([a, b], 1)
    return first + second + both[:, : a.size(1)] * both[:, a.size(1) : a.size(1) + b.size(1)]


# code, whether all of the request is reached under each policy
CODE: dict[str, tuple[Callable[[], nn.Module], Tensor, bool]] = {
    "pre-norm, reshape": (lambda: Blocks("reshape"), IMAGES, True),
    "pre-norm, unflatten": (lambda: Blocks("unflatten"), IMAGES, True),
    "pre-norm, permute": (lambda: Blocks("permute"), IMAGES, True),
    "reshape_as": (lambda: Tokens(lambda z, y: z.reshape_as(y)), TOKENS, True),
    "view_as": (lambda: Tokens(lambda z, y: z.view_as(y)), TOKENS, True),
    "view of the shape": (lambda: Tokens(lambda z, y: z.view(y.shape)), TOKENS, True),
    "unflatten": (lambda: Tokens(lambda z, y: z.unflatten(0, y.shape[:2])), TOKENS, True),
    "the width of a layer": (
        lambda: Net(
            lambda n, x: n.out(n.features(x).reshape(len(x), n.conv.out_channels, -1).mean(2))
        ), IMAGES, True
    ),
    "gate, view": (gated(lambda s, g, x: g.view(x.size(0), x.size(1), 1, 1)), IMAGES, True),
    "gate, its own sizes": (gated(lambda s, g, x: g.view(*g.shape, 1, 1)), IMAGES, True),
    "gate, reshape and expand": (
        gated(lambda s, g, x: g.reshape(len(x), -1, 1, 1).expand(x.shape)), IMAGES, True
    ),
    "gate, the width of a layer": (gated(lambda s, g, x: g.view(-1, s.up.out_features, 1, 1)), IMAGES, True),
    "compared shapes": (lambda: Around(lambda y: compared(y, torch.flip(y, [3]))), IMAGES, True),
    "compared sizes": (
        lambda: Around(lambda y: y * 2 if y.shape[1] == y.relu().size(1) and y.shape[1] > 0 else y),
        IMAGES, True
    ),
    "a remainder of 0": (
        lambda: Around(lambda y: y * 2 if y.shape[1] % 3 == 0 else y), IMAGES, False
    ),
    "split by counts": (lambda: Around(split_back), IMAGES, True),
    "a number of it": (lambda: Around(lambda y: y / y.shape[1]), IMAGES, False),
    "int of it": (lambda: Around(lambda y: y / int(y.shape[1])), IMAGES, False),
    "text of it": (lambda: Around(lambda y: {"12": y}[f"{y.shape[1]}"]), IMAGES, False),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_pruned_equals_masked_and_the_request_is_reached(name: str) -> None:
    make, images, reached = CODE[name]
    results = prove_user_code(make, images)
    for policy, result in results.items():
        if reached:
            assert not result.report.limits, (policy, str(result.report))
