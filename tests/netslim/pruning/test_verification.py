"""A slim network that computes something else than the masked one is refused, and an exact one is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from netslim.nn.module_copy import ModuleIndex
from netslim.pruning.verification import verify_pruning
from tests.helpers.proof import settled
from tests.helpers.user_code import IMAGES, Net


def head(n: Any, x: Tensor) -> Any:
    return n.out(n.features(x).mean((2, 3)))


class Pruned:
    """A network, half pruned: without and with compensation."""

    def __init__(
        self, forward: Callable[[Any, Tensor], Any] = head, dtype: torch.dtype = torch.float64
    ) -> None:
        torch.manual_seed(0)
        self.wide = settled(Net(head), IMAGES).to(dtype)
        self.images = IMAGES.to(dtype)
        result = netslim.prune(self.wide, self.images)
        self.plan, self.exact = result.plan, result.model
        self.plain = netslim.prune(self.wide, self.images, compensate=False).model
        for net in (self.wide, self.exact, self.plain):
            assert isinstance(net, Net)
            net.run = forward

    def verify(self, *, compensated: bool = True, example: Any = None) -> tuple[str, ...]:
        index, exact = ModuleIndex.of(self.wide), self.exact if compensated else None
        example = self.images if example is None else example
        return verify_pruning(index, self.plan, example, self.plain, exact)


def one_output_less(net: Any) -> None:
    net.out.weight, net.out.bias = nn.Parameter(net.out.weight[:3].clone()), None


DAMAGE: dict[str, Callable[[Any], object]] = {
    "one weight": lambda net: net.conv.weight[0, 0, 0, 0].add_(0.1),
    "one factor": lambda net: net.norm.weight[1].mul_(1.01),
    "a running mean": lambda net: net.norm.running_mean[2].add_(0.01),
    "two channels exchanged": lambda net: net.out.weight.copy_(net.out.weight[:, [1, 0, 2, 3, 4, 5]]),
    "a bias": lambda net: net.out.bias[0].add_(0.001),
    "no number": lambda net: net.out.bias.fill_(torch.nan),
    "one output less": one_output_less,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("which", ["plain", "exact"])
def test_a_wrong_slim_network_is_refused(which: str, damage: Callable[[Any], object]) -> None:
    pruned = Pruned()
    with torch.no_grad():
        damage(getattr(pruned, which))
    message = r"computes something else than the masked one \(by .*%\)\. This is a bug of netslim"
    with pytest.raises(ModelError, match=message):
        pruned.verify()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_exact_slim_network_is_not(dtype: torch.dtype) -> None:
    pruned = Pruned(dtype=dtype)
    networks = (pruned.wide, pruned.plain, pruned.exact)
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    pruned.wide.train()
    random_state = torch.get_rng_state()
    assert pruned.verify() == ()
    assert pruned.wide.training
    assert torch.equal(torch.get_rng_state(), random_state)
    for network, state in zip(networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_networks_are_compared_in_double_precision() -> None:
    """A difference that could be rounding in the precision of the network."""
    pruned = Pruned(dtype=torch.float32)
    with torch.no_grad():
        pruned.plain.get_parameter("out.bias").add_(1e-4)
    with pytest.raises(ModelError, match="something else"):
        pruned.verify()


def test_networks_that_differ_by_compensation_alone_are_told_apart() -> None:
    """The network without compensation is that with beta at 0, the other one keeps the betas."""
    pruned = Pruned()
    pruned.plain, pruned.exact = pruned.exact, pruned.plain
    with pytest.raises(ModelError, match="something else"):
        pruned.verify()
    pruned.exact, pruned.plain = pruned.plain, pruned.exact
    with torch.no_grad():
        pruned.exact.get_parameter("out.bias").add_(1)  # it is exact on average only, and not compared
    assert pruned.verify(compensated=False) == ()


def test_the_example_input_needs_no_values() -> None:
    pruned = Pruned()
    assert pruned.verify(example=IMAGES.to("meta")) == ()
    assert pruned.verify(example=(torch.full_like(IMAGES, torch.nan),)) == ()


@dataclass
class Result:
    """Only a part of it depends on the weights."""

    logits: Tensor
    labels: Tensor


class Holder:
    def __init__(self, value: Tensor) -> None:
        self.deep = {"value": [value]}


OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "a list": lambda value: [value.argmax(1), value],
    "a mapping": lambda value: {"aux": None, "out": value},
    "a dataclass": lambda value: Result(value, value.argmax(1)),
    "an object": Holder,
}


@pytest.mark.parametrize("wrap", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_the_tensors_in_all_kinds_of_outputs_are_compared(wrap: Callable[[Tensor], Any]) -> None:
    pruned = Pruned(lambda n, x: wrap(head(n, x)))
    assert pruned.verify() == ()
    with torch.no_grad():
        pruned.plain.get_parameter("out.bias").add_(0.1)
    with pytest.raises(ModelError, match="something else"):
        pruned.verify()


def single_precision(n: Any, x: Tensor) -> Any:
    assert x.dtype is torch.float32, "the extension computes in single precision only"
    return head(n, x)


def test_a_network_that_refuses_double_precision_is_compared_in_its_own() -> None:
    pruned = Pruned(single_precision, torch.float32)
    assert pruned.verify() == ()
    with torch.no_grad():
        pruned.exact.get_parameter("out.bias").add_(0.1)
    with pytest.raises(ModelError, match="something else"):
        pruned.verify()


def test_networks_whose_output_is_zero_are_equal() -> None:
    assert Pruned(lambda n, x: 0 * head(n, x)).verify() == ()
    assert Pruned(lambda n, x: head(n, x)[:0]).verify() == ()


def fails(n: Any, x: Tensor) -> Any:
    raise ValueError("it takes no random images")


NOT_VERIFIED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "random": (lambda n, x: head(n, x) + torch.rand(4), "random or not finite"),
    "dropout that is always on": (lambda n, x: F.dropout(head(n, x), 0.5), "random or not finite"),
    "infinite": (lambda n, x: head(n, x) / 0, "random or not finite"),
    "no number": (lambda n, x: head(n, x).clamp(max=-1).sqrt(), "random or not finite"),
    "fails": (fails, "the masked network does not run on random inputs"),
    "no tensor": (lambda n, x: "a label", "the masked network does not run on random inputs"),
}


@pytest.mark.parametrize("name", NOT_VERIFIED)
def test_a_note_says_why_nothing_could_be_compared(name: str) -> None:
    forward, reason = NOT_VERIFIED[name]
    (note,) = Pruned(forward).verify()
    assert note.startswith("not verified, because")
    assert note.endswith(reason)
