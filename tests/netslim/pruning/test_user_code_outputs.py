"""Feature maps that leave the network in all kinds of containers keep their channels."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from tests.helpers.networks import conv
from tests.helpers.proof import masked, relative, settled
from tests.helpers.user_code import IMAGES


@dataclasses.dataclass
class Out:
    logits: Tensor
    features: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    logits: Tensor
    features: Tensor


class Box:
    def __init__(self, logits: Tensor, features: Tensor) -> None:
        self.logits, self.features = logits, features


class AttributeDict(dict[str, Any]):
    __getattr__ = dict.__getitem__


class Items(list[Any]):
    """pytree takes a subclass of list for a leaf."""


Pair = namedtuple("Pair", "logits features")

# how the features are put in, how they are found again
CONTAINERS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any], Tensor]]] = {
    "dataclass": (Out, lambda out: out.features),
    "frozen with slots": (Slots, lambda out: out.features),
    "dataclass in a dataclass": (lambda a, b: Out(a, Out(a, [b])), lambda out: out.features.features[0]),
    "object": (Box, lambda out: out.features),
    "namespace": (lambda a, b: SimpleNamespace(a=a, b=b), lambda out: out.b),
    "dict subclass": (lambda a, b: AttributeDict(a=a, b=b), lambda out: out.b),
    "ordered dict": (lambda a, b: OrderedDict(a=a, b=b), lambda out: out["b"]),
    "user dict": (lambda a, b: UserDict(a=a, b=b), lambda out: out["b"]),
    "list subclass": (lambda a, b: Items([a, b]), lambda out: out[1]),
    "named tuple": (Pair, lambda out: out.features),
    "deque": (lambda a, b: deque([a, b]), lambda out: out[1]),
    "function": (lambda a, b: lambda: b, lambda out: out()),
    "generator": (lambda a, b: (value for value in (a, b)), lambda out: list(out)[1]),
}


class Multi(nn.Module):
    def __init__(self, wrap: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.wrap, self.a, self.b, self.out = wrap, conv(3, 8), conv(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Any:
        features = self.b(self.a(x))
        return self.wrap(self.out(features.mean((2, 3))), features)


@pytest.mark.parametrize("policy", ["auto", "group"])
@pytest.mark.parametrize("name", CONTAINERS)
def test_features_keep_their_channels(name: str, policy: Any) -> None:
    wrap, read = CONTAINERS[name]
    torch.manual_seed(0)
    wide = settled(Multi(wrap), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.5, policy=policy, compensate=False)
    with torch.no_grad():
        slim, truth = read(result.model(IMAGES)), read(masked(wide, result.plan.kept)(IMAGES))
    assert relative(slim, truth) < 1e-11
    assert result.after.params < result.before.params


def test_features_that_the_model_keeps_as_an_attribute() -> None:
    torch.manual_seed(0)
    wide = settled(Keeping(), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.5, policy="group", compensate=False)
    truth = masked(wide, result.plan.kept)
    with torch.no_grad():
        result.model(IMAGES), truth(IMAGES)
    assert relative(result.model.last[0], truth.last[0]) < 1e-11  # type: ignore[union-attr, index]
    assert "the model keeps them as its attribute last" in str(result.report)


class Keeping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.b(self.a(x))
        self.last = [features]
        return self.out(features.mean((2, 3)))


class Appending(Keeping):
    def forward(self, x: Tensor, found: list[Tensor]) -> Tensor:  # type: ignore[override]
        features = self.b(self.a(x))
        found.append(features)
        return self.out(features.mean((2, 3)))


def test_features_that_are_put_into_a_list_of_the_caller() -> None:
    torch.manual_seed(0)
    wide = settled(Appending(), IMAGES, [])  # type: ignore[arg-type]
    result = netslim.prune(wide, (IMAGES, []), percent=0.5, policy="group", compensate=False)
    slim: list[Tensor] = []
    truth: list[Tensor] = []
    with torch.no_grad():
        result.model(IMAGES, slim), masked(wide, result.plan.kept)(IMAGES, truth)
    assert relative(slim[0], truth[0]) < 1e-11
