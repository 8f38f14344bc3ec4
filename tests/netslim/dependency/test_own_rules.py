"""Networks with operations of the user's own: without a rule they are frozen, with one they shrink.

The truth is the masked network, which calls the operation itself; and the plan and the cost of a twin that
calls PyTorch in place of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from tests.helpers import own_operations as own
from tests.helpers.own_operations import curve, numpy_relu
from tests.helpers.proof import gammas_at_zero, outputs, relative, settled, widths
from tests.helpers.user_code import IMAGES, Net, head, prove_user_code

pytestmark = pytest.mark.usefixtures("no_rules")


@dataclass
class Case:
    """A network around an operation.

    Args:
        forward: called with the operation, or with the function that is registered for it.
        layers: makes the layers that the network has besides.
        call: what the network calls, if it is not the operation itself.
        notes: what the note says if compensation is not exact.
        reader: a layer that reads channels of `norm`, which the operation passes on or reads itself.
    """

    operation: Any
    like: Callable[..., Any]
    forward: Callable[[Any, Any, Tensor], Tensor]
    layers: Callable[[], dict[str, nn.Module]] = dict
    call: Callable[..., Any] | None = None
    notes: str = ""
    reader: str = "out"

    def make(self, call: Callable[..., Any] | None = None) -> nn.Module:
        """The network with the operation, or with `call` in its place."""
        torch.manual_seed(0)
        call = call or self.call or self.operation
        return settled(Net(lambda n, x: self.forward(call, n, x), **self.layers()), IMAGES)

    def register(self) -> None:
        netslim.register_rule(self.operation, self.like)


def raw(n: Any, x: Tensor) -> Any:
    """Channels that are any constant once they are removed, not only a positive one."""
    return n.norm(n.conv(x))


def fused(op: Any, n: Any, x: Tensor) -> Any:
    norm = n.norm2
    vectors = norm.weight, norm.bias, norm.running_mean, norm.running_var
    return head(n, op(n.features(x), n.mid.weight, *vectors))


def deformed(op: Any, n: Any, x: Tensor) -> Any:
    x = n.features(x)
    x = op(x, n.mid.weight, n.offset(x), x[:, :0], n.mid.bias, *(1,) * 8, False)
    return head(n, F.relu(n.norm2(x)))


def pooled_sums(op: Any, n: Any, x: Tensor) -> Any:
    return n.out(F.relu(n.norm1(op(n.mid(n.features(x)), 3.0))))


def in_place(op: Any, n: Any, x: Tensor) -> Any:
    x = raw(n, x)
    op(x)
    return head(n, x)


def both_modes(op: Any, n: Any, x: Tensor) -> Any:
    features = op(raw(n, x), 0.0)
    return head(n, op(2 * features, 0.0) if n.training else features)


def point() -> nn.Module:
    return nn.Conv2d(12, 12, 1, bias=False)


def vectors() -> nn.Module:
    return nn.ParameterDict({"factor": torch.rand(12) + 0.5, "shift": torch.randn(12)})


CASES: dict[str, Case] = {
    "value by value": Case(
        own.scale, own.like_scale, lambda op, n, x: head(n, op(raw(n, x), n.own.factor, n.own.shift)),
        lambda: {"own": vectors()},
    ),
    "an operator of a library": Case(
        curve, own.like_curve, lambda op, n, x: head(n, op(raw(n, x), by=0.7))
    ),
    "an overload": Case(
        curve.default, own.like_curve, lambda op, n, x: head(n, op(raw(n, x), by=0.7)), call=curve
    ),
    "pooling": Case(own.pool, own.like_pool, lambda op, n, x: n.out(op(n.features(x), 3.0))),
    "pooling of sums": Case(
        own.pool, own.like_pool, pooled_sums, lambda: {"mid": point(), "norm1": nn.BatchNorm1d(12)}
    ),
    "constants stay, offsets do not": Case(
        own.contrast, lambda x: x.clone(),
        lambda op, n, x: head(n, F.relu(n.norm2(op(n.mid(n.features(x)))))),
        lambda: {"mid": point(), "norm2": nn.BatchNorm2d(12)},
    ),
    "convolution, BatchNorm, ReLU": Case(
        own.fused, own.like_fused, fused, lambda: {"mid": point(), "norm2": nn.BatchNorm2d(12)}
    ),
    "deformable convolution": Case(
        own.deformable, own.like_deformable, deformed,
        lambda: {
            "mid": nn.Conv2d(12, 12, 3), "norm2": nn.BatchNorm2d(12),
            "offset": nn.Conv2d(12, 18, 3, padding=1),
        },
        notes="on average",
    ),
    "a product with all channels": Case(
        own.mix, own.like_mix, lambda op, n, x: head(n, op(n.features(x), n.mid.weight)),
        lambda: {"mid": nn.Linear(12, 12, bias=False)}, notes="no bias that only this layer", reader="mid",
    ),
    "a list of tensors": Case(
        own.join, lambda tensors: torch.cat(tensors, 1),
        lambda op, n, x: n.wide(op([n.features(x), raw(n, x)]).mean((2, 3))),
        lambda: {"wide": nn.Linear(24, 4)}, reader="wide",
    ),
    "in place": Case(own.positive_, lambda x: x.relu_(), in_place),
    "function with NumPy": Case(
        own.NumpyRelu, own.like_relu, lambda op, n, x: head(n, op(raw(n, x), 0.0)), call=numpy_relu
    ),
    "function by its apply": Case(
        own.NumpyRelu.apply, own.like_relu, lambda op, n, x: head(n, op(raw(n, x), 0.0))
    ),
    "function with setup_context": Case(
        own.WithSetup, F.relu, lambda op, n, x: head(n, op(raw(n, x))), call=own.WithSetup.apply
    ),
    "function that returns its input": Case(
        own.Same, lambda x: x, lambda op, n, x: head(n, op(n.features(x))), call=own.Same.apply
    ),
    "other calls in train mode": Case(own.NumpyRelu, own.like_relu, both_modes, call=numpy_relu),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_network_with_a_rule_shrinks_as_its_twin_in_plain_pytorch(case: Case) -> None:
    case.register()
    results = prove_user_code(case.make)
    result, twin = results["auto"], netslim.prune(case.make(case.like), IMAGES, compensate=False)
    assert result.plan == twin.plan
    assert (result.before, result.after) == (twin.before, twin.after)
    assert widths(result.model)[case.reader][1] < widths(case.make())[case.reader][1]
    assert not result.report.held_back
    assert netslim.preview(case.make(), IMAGES).rows == result.report.rows


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_constants_are_compensated(case: Case) -> None:
    case.register()
    model = case.make()
    result = netslim.prune(model, IMAGES, verify=True)
    if case.notes:
        assert any(case.notes in note for note in result.report.notes)
    else:
        assert not result.report.notes
        truth = gammas_at_zero(model, result.plan.kept)
        assert relative(outputs(result.model, IMAGES), outputs(truth, IMAGES)) < 1e-9


def test_a_target_is_met_although_the_operation_does_not_run_without_data() -> None:
    case = CASES["value by value"]
    case.register()
    result = netslim.prune(case.make(), IMAGES, target="flops=0.5")
    assert result.plan == netslim.prune(case.make(case.like), IMAGES, target="flops=0.5").plan
    assert result.after.flops == result.before.flops // 2


def test_an_operation_without_a_rule_is_frozen_or_refused() -> None:
    for name in ("pooling", "pooling of sums"):  # it runs on shapes
        assert "pool.default at test_own_rules.py:" in str(netslim.prune(CASES[name].make(), IMAGES).report)
    for name in ("value by value", "an overload", "function with NumPy", "deformable convolution"):
        try:
            result = netslim.prune(CASES[name].make(), IMAGES)
        except ModelError as error:
            found = str(error)
            assert "cannot be followed without data" in found, name
            assert "netslim.register_rule" in found, name
        else:
            assert "at test_own_rules.py:" in str(result.report), name


def test_a_rule_that_is_exact_for_zeros_only_compensates_nothing() -> None:
    netslim.register_rule(own.NumpyRelu, lambda x, least: 5 * x, exact=False)
    model = CASES["function with NumPy"].make()
    result = netslim.prune(model, IMAGES, verify=True)
    assert widths(result.model)["out"][1] < 12
    assert result.report.notes == ("not compensated, because the removed input is not a constant: out",)
    plain = netslim.prune(model, IMAGES, compensate=False).model
    assert torch.equal(outputs(result.model, IMAGES), outputs(plain, IMAGES))


def test_constants_behind_a_rule_that_is_exact_for_zeros_only_are_frozen() -> None:
    """Removed channels are 0.5 before it, so nothing is known of what comes out."""
    netslim.register_rule(own.NumpyRelu, lambda x, least: x, exact=False)
    model = Net(lambda n, x: head(n, numpy_relu(torch.sigmoid(raw(n, x)), 0.7)))
    result = netslim.prune(settled(model, IMAGES), IMAGES, verify=True)
    assert widths(result.model)["out"][1] == 12
    assert "out reads them as they are" in str(result.report)


def test_a_wrong_rule_is_found_by_verify_and_named() -> None:
    netslim.register_rule(curve, lambda x, by: torch.channel_shuffle(x, 2))  # `curve` moves no channels
    with pytest.raises(ModelError, match=r"rules are right: netslim_tests_2.curve \(test_own_rules.py:\d+\)"):
        netslim.prune(CASES["an overload"].make(), IMAGES, verify=True)
