"""Functions of each value and of two tensors: which channels are tied, and which constants come out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.helpers.traces import Trace, channels_of, labels_of, sizes

UNARY: dict[str, Callable[[Any], Any]] = {
    "relu": torch.relu,
    "relu in place": lambda x: F.relu(x, inplace=True),
    "sigmoid": torch.sigmoid,
    "hardswish": F.hardswish,
    "leaky relu": lambda x: F.leaky_relu(x, 0.3),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "negative": lambda x: -x,
    "plus a number": lambda x: x + 2,
    "a number minus": lambda x: 2 - x,
    "times a number": lambda x: x * -3,
    "divided": lambda x: x / 4,
    "power": lambda x: x**2,
    "add with alpha": lambda x: torch.add(x, 1.0, alpha=5),
    "dropout in eval mode": lambda x: F.dropout(x, training=False),
    "clone": torch.clone,
    "to double": lambda x: x.double(),
}


@pytest.mark.parametrize("name", UNARY)
def test_the_constants_are_what_torch_makes_of_them(name: str) -> None:
    trace = Trace.of()
    result = UNARY[name](trace.channels(1, 4, 2, 2, without_bias=0.0, with_bias=-1.5))
    truth = [float(UNARY[name](torch.tensor(value, dtype=torch.float64))) for value in (0.0, -1.5)]
    assert labels_of(result) == [0, 1, 2, 3]
    assert result.channels.value_without_bias.ravel() == pytest.approx([truth[0]] * 4)
    assert result.channels.value_with_bias.ravel() == pytest.approx([truth[1]] * 4)
    assert not trace.unprunable()


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "add in place": lambda a, b: a.add_(b),
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": torch.maximum,
}


@pytest.mark.parametrize("name", BINARY)
def test_two_tensors_tie_their_channels(name: str) -> None:
    trace = Trace.of()
    a = trace.channels(1, 4, 2, 2, without_bias=1.0, with_bias=3.0)
    b = trace.channels(1, 4, 1, 1, without_bias=2.0, with_bias=-4.0)
    result = BINARY[name](a, b)
    assert sizes(result) == [1, 4, 2, 2]
    assert trace.classes() == [0, 1, 2, 3] * 2
    truth = [
        float(BINARY[name](torch.tensor(left), torch.tensor(right)))
        for left, right in ((1.0, 2.0), (3.0, -4.0))
    ]
    assert result.channels.value_without_bias.ravel() == pytest.approx([truth[0]] * 4)
    assert result.channels.value_with_bias.ravel() == pytest.approx([truth[1]] * 4)


def test_a_product_with_zero_is_zero_also_if_the_other_factor_is_not_known() -> None:
    trace = Trace.of()
    a, b = trace.channels(1, 4, 2, 2, without_bias=0.0), trace.channels(1, 4, 1, 1, without_bias=np.nan)
    assert channels_of(a * b).value_without_bias.ravel().tolist() == [0.0] * 4
    assert not trace.unprunable()


REFUSED: dict[str, tuple[Callable[[Trace, Any], Any], str]] = {
    "unknown channels": (
        lambda trace, x: x + trace.unknown(1, 4, 2, 2), "tensors of known and unknown channels meet"
    ),
    "other axes": (
        lambda trace, x: x + trace.channels(1, 1, 4, 1, axis=2), "channels meet that lie along different axes"
    ),
    "no rule": (lambda trace, x: x.cumsum(1), "cumsum"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_must_stay(name: str) -> None:
    operation, reason = REFUSED[name]
    trace = Trace.of()
    x = trace.channels(1, 4, 4, 2)
    result = operation(trace, x) if name != "unknown channels" else x + trace.unknown(1, 4, 4, 2)
    assert result.channels is None
    assert trace.unprunable() >= {0, 1, 2, 3}
    assert set(trace.reasons()) == {reason}


OFFSETS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "add": (lambda x: x + 1, True),
    "clone": (torch.clone, True),
    "add with alpha": (lambda x: torch.add(1.0, x, alpha=2), False),
    "relu": (torch.relu, False),
    "times a number": (lambda x: x * 2, False),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_where_an_offset_does_not_pass_the_convolution_corrects_itself(name: str) -> None:
    operation, passes = OFFSETS[name]
    trace = Trace.of()
    result = operation(trace.channels(1, 4, 2, 2, sources=True))
    assert bool(result.channels.conv_sources) == passes
    assert bool(trace.records.uncompensated_sources) != passes


def test_prelu_with_a_slope_for_each_channel_is_removed_with_it() -> None:
    trace = Trace.of({"slopes": torch.tensor([0.1, 0.2, 0.3, 0.4])})
    x = trace.channels(1, 4, 2, 2, with_bias=-10.0)
    result = F.prelu(x, trace.parameter("slopes"))
    assert channels_of(result).value_with_bias.ravel() == pytest.approx([-1.0, -2.0, -3.0, -4.0])
    assert trace.records.axes["slopes", 0].tolist() == [0, 1, 2, 3]


def test_a_view_that_is_written_to_makes_the_other_unknown() -> None:
    trace = Trace.of()
    x = trace.channels(1, 4, 2, 2)
    x.view(1, -1, 4).add_(1)
    torch.relu(x)
    assert trace.reasons() == ["changed through a view"]
