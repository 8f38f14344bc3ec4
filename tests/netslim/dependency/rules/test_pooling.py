"""Pooling, reductions and padding: the channels stay in axis 1, and which constants stay constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.traces import Trace, labels_of, sizes

# operation on (1, 4, 6, 6), the value of a channel that was 2 everywhere (None: no constant), reasons
TABLE: dict[str, tuple[Callable[[Any], Any], float | None, list[str]]] = {
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), 2.0, []),
    "average pool": (lambda x: F.avg_pool2d(x, 2), 2.0, []),
    "average pool with zeros": (lambda x: F.avg_pool2d(x, 3, 1, 1), None, []),
    "average pool without zeros": (lambda x: F.avg_pool2d(x, 3, 1, 1, False, False), 2.0, []),
    "adaptive average": (lambda x: F.adaptive_avg_pool2d(x, (1, None)), 2.0, []),
    "resize": (lambda x: F.interpolate(x, scale_factor=2), 2.0, []),
    "mean": (lambda x: x.mean((2, 3)), 2.0, []),
    "largest": (lambda x: x.amax((2, 3), keepdim=True), 2.0, []),
    "sum": (lambda x: x.sum((2, 3)), None, []),
    "zero padding": (lambda x: F.pad(x, (1, 1)), None, []),
    "reflection": (lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), 2.0, []),
    "mean over channels": (lambda x: x.mean(1), None, ["mean"]),
    "mean over all": (lambda x: x.mean(), None, ["mean"]),
    "padding of channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 0)), None, ["pad"]),
    "padding with a value": (lambda x: F.pad(x, (1, 1), value=3.0), None, ["pad"]),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_constant_of_a_removed_channel(name: str) -> None:
    operation, constant, reasons = TABLE[name]
    trace = Trace.of()
    result = operation(trace.channels(1, 4, 6, 6, without_bias=2.0, with_bias=2.0))
    truth = operation(torch.full((1, 4, 6, 6), 2.0))
    assert sizes(result) == sizes(truth)
    assert trace.reasons() == reasons
    if reasons:
        assert result.channels is None
        assert trace.unprunable() == {0, 1, 2, 3}
        return
    assert labels_of(result) == [0, 1, 2, 3]
    value = result.channels.value_without_bias.ravel()[0]
    assert value == pytest.approx(float("nan") if constant is None else constant, nan_ok=True)
    if constant is not None:
        assert truth.unique().tolist() == [constant]


def test_pixel_shuffle_ties_a_block_and_its_inverse_repeats_a_channel() -> None:
    trace = Trace.of()
    result = F.pixel_shuffle(trace.channels(1, 8, 2, 2), 2)
    assert sizes(result) == [1, 2, 4, 4]
    assert trace.classes() == [0] * 4 + [1] * 4
    trace = Trace.of()
    result = F.pixel_unshuffle(trace.channels(1, 2, 4, 4), 2)
    assert labels_of(result) == [0] * 4 + [1] * 4
