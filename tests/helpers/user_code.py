"""Small networks around one piece of code that users write, and the proof for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.pruning.options import Policy
from tests.helpers.networks import conv
from tests.helpers.proof import prove, settled

__all__ = ["IMAGES", "POLICIES", "Around", "Net", "prove_user_code"]

POLICIES: tuple[Policy, ...] = ("auto", "group", "select")
IMAGES = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Net(nn.Module):
    """Convolution and BatchNorm of 12 channels, and what a test adds; `forward` is a function of the test."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = forward
        self.conv, self.norm, self.out = nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.Linear(12, 4)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Around(nn.Module):
    """A function between two convolutions with BatchNorm; 12 channels go in, `width` come out."""

    def __init__(self, function: Callable[[Tensor], Tensor], width: int = 12) -> None:
        super().__init__()
        self.function = function
        self.a, self.b, self.out = conv(3, 12), conv(width, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.function(self.a(x))).mean((2, 3)))


def prove_user_code(
    make: Callable[[], nn.Module],
    images: Tensor = IMAGES,
    policies: tuple[Policy, ...] = POLICIES,
    *,
    control: bool = True,
) -> dict[Policy, netslim.PruneResult]:
    """Prove half pruned under each policy."""
    results: dict[Policy, netslim.PruneResult] = {}
    for policy in policies:
        torch.manual_seed(0)
        results[policy] = prove(settled(make(), images), images, policy=policy, control=control)
    return results


def head(n: Any, x: Tensor) -> Any:
    return n.out(x.mean((2, 3)))
