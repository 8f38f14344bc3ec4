"""Weights that are used in two ways, and layers that are called as functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netslim
from tests.helpers.proof import gammas_at_zero, outputs, relative, settled
from tests.helpers.user_code import IMAGES, Net, prove_user_code

CODE: dict[str, Callable[[], nn.Module]] = {
    "transposed": lambda: Net(
        lambda n, x: F.linear(n.out(n.features(x).mean((2, 3))), n.out.weight.t())
    ),
    "a product of matrices": lambda: Net(lambda n, x: n.out(n.features(x).mean((2, 3))) @ n.out.weight),
    "the first rows": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) + F.linear(x.mean((2, 3)), n.conv.weight[:4, :, 0, 0])
    ),
    "chunks": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) + n.conv.weight.chunk(3)[1].sum()
    ),
    "selected rows": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) + n.conv.weight.select(0, 2).mean()
    ),
    "flat, by a number": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) + 0.1 * (n.conv.weight.view(12, -1) ** 2).sum()
    ),
    "unbound": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) + torch.unbind(n.conv.weight)[0].mean()
    ),
    "its size": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) / n.conv.weight.shape[0]
    ),
    "the width of its layer": lambda: Net(
        lambda n, x: n.out(n.features(x).mean((2, 3))) / n.conv.out_channels + n.norm.num_features
    ),
    "transposed convolution": lambda: Net(
        lambda n, x: F.conv_transpose2d(n.features(x), n.conv.weight)
    ),
    "square, both ways": lambda: Net(
        lambda n, x: n.out(F.conv_transpose2d(n.square(n.features(x)), n.square.weight).mean((2, 3))),
        square=nn.Conv2d(12, 12, 1, bias=False),
    ),
    "its row, as a vector": lambda: Net(
        lambda n, x: n.out((n.features(x) * n.row.weight.view(1, -1, 1, 1)).mean((2, 3)))
        + n.row(n.features(x).mean((2, 3))),
        row=nn.Linear(12, 1, bias=False),
    ),
    "another bias": lambda: Net(
        lambda n, x: n.out(F.relu(n.norm2(F.conv2d(n.features(x), n.mid.weight, n.mid2.bias))).mean((2, 3))),
        mid=nn.Conv2d(12, 12, 1, bias=False), mid2=nn.Conv2d(1, 12, 1), norm2=nn.BatchNorm2d(12),
    ),
    "depthwise, as a function": lambda: Net(
        lambda n, x: n.out(F.conv2d(n.features(x), n.depth.weight, groups=12).mean((2, 3))),
        depth=nn.Conv2d(12, 12, 3, groups=12),
    ),
    "depthwise, by the count": lambda: Net(
        lambda n, x: (lambda y: n.out(F.conv2d(y, n.depth.weight, groups=y.shape[1]).mean((2, 3))))(
            n.features(x)
        ),
        depth=nn.Conv2d(12, 12, 3, groups=12),
    ),
    "its bias, elsewhere": lambda: Net(
        lambda n, x: n.out(F.relu(n.norm2(n.mid(n.features(x).sigmoid()))).mean((2, 3)))
        + (n.mid.bias ** 2).mean(),
        mid=nn.Conv2d(12, 12, 1), norm2=nn.BatchNorm2d(12),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CODE)
def test_pruned_equals_masked(name: str) -> None:
    prove_user_code(CODE[name])


FUNCTIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: Net(lambda n, x: F.linear(n.features(x).mean((2, 3)), n.out.weight)),
    "linear, with a bias that is not used": lambda: Net(
        lambda n, x: F.linear(n.features(x).mean((2, 3)), n.other.weight), other=nn.Linear(12, 4, bias=False)
    ),
    "convolution": lambda: Net(
        lambda n, x: F.conv2d(n.features(x), n.other.weight), other=nn.Conv2d(12, 4, 1, bias=False)
    ),
    "convolution, then BatchNorm": lambda: Net(
        lambda n, x: n.after(F.conv2d(n.features(x), n.other.weight)),
        other=nn.Conv2d(12, 4, 1, bias=False), after=nn.BatchNorm2d(4),
    ),
    "called, then as a function": lambda: Net(
        lambda n, x: n.other(n.features(x)) - 2 * F.conv2d(n.features(x), n.other.weight),
        other=nn.Conv2d(12, 4, 1),
    ),
    "one weight in two layers": lambda: shared(),
    "one bias in two layers": lambda: Net(
        lambda n, x: F.conv2d(n.features(x), n.other.weight, n.other.bias)
        + F.conv2d(n.features(x), n.third.weight, n.other.bias),
        other=nn.Conv2d(12, 4, 1), third=nn.Conv2d(12, 4, 1, bias=False),
    ),
}  # fmt: skip


def shared() -> nn.Module:
    net = Net(
        lambda n, x: n.one(n.features(x)) + 3 * n.two(n.features(x)),
        one=nn.Conv2d(12, 4, 1, bias=False),
        two=nn.Conv2d(12, 4, 1, bias=False),
    )
    net.two.weight = net.one.weight  # type: ignore[union-attr]
    return net


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_uses_no_bias_is_compensated_exactly_or_named(name: str) -> None:
    """Removed channels are constants, so without padding their bias is all that is lost."""
    torch.manual_seed(0)
    wide = settled(FUNCTIONS[name](), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.5)
    assert result.after.params < result.before.params
    difference = relative(
        outputs(result.model, IMAGES), outputs(gammas_at_zero(wide, result.plan.kept), IMAGES)
    )
    named = any("not compensated" in note for note in result.report.notes)
    assert named == (difference > 1e-9)
    assert named == (name != "convolution, then BatchNorm")
