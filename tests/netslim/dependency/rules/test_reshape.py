"""Reshapes and permutations: four channels in axis 1 of (1, 4, 2, 2), and where they are afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from netslim.dependency.rules.reshape import find_segments
from netslim.dependency.settle import settle
from tests.helpers.traces import Trace, sizes

Operation = Callable[[Any], Any]

# operation, labels of the result without the axes of size 1, classes, reasons why they must stay
TABLE: dict[str, tuple[Operation, Any, list[int], list[str]]] = {
    "transpose": (lambda x: x.transpose(1, 3), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "permute": (lambda x: x.permute(0, 2, 3, 1), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "flatten": (lambda x: x.flatten(1), [n // 4 for n in range(16)], [0, 1, 2, 3], []),
    "flatten behind them": (lambda x: x.flatten(2), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "unsqueeze": (lambda x: x.unsqueeze(0), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "halves by the count": (
        lambda x: x.view(1, 2, x.shape[1] // 2, 2, 2), [[0, 1], [2, 3]], [0, 1, 0, 1], []
    ),
    "halves by what is left": (lambda x: x.view(1, 2, -1, 2, 2), [[0, 1], [2, 3]], [0, 1, 0, 1], []),
    "rows of two": (lambda x: x.view(1, -1, 2, 2, 2), [[0, 1], [2, 3]], [0, 0, 1, 1], []),
    "a constant size": (
        lambda x: x.view(1, 4, 4), [0, 1, 2, 3], [0, 0, 0, 0], ["a constant size"]
    ),
    "two free sizes": (
        lambda x: x.view(1, 2, 2, 4), [[0, 1], [2, 3]], [0, 0, 0, 0], ["a constant size"]
    ),
    "squeeze of one axis": (lambda x: x.squeeze(0), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "flip of space": (lambda x: x.flip(2), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "channel shuffle": (lambda x: torch.channel_shuffle(x, 2), [0, 2, 1, 3], [0, 1, 0, 1], []),
    "expand": (lambda x: x.expand(5, -1, -1, -1), [0, 1, 2, 3], [0, 1, 2, 3], []),
    "expand to a constant": (
        lambda x: x.expand(5, 4, 2, 2), [0, 1, 2, 3], [0, 1, 2, 3], ["a constant size"]
    ),
    "squeeze of all axes": (lambda x: x.squeeze(), None, [0, 1, 2, 3], ["squeeze"]),
    "flip of channels": (lambda x: x.flip(1), None, [0, 1, 2, 3], ["flip"]),
    "another dtype": (lambda x: x.view(torch.int32), None, [0, 1, 2, 3], ["view"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_where_the_channels_are(name: str) -> None:
    operation, labels, classes, reasons = TABLE[name]
    trace = Trace.of()
    x = trace.channels(1, 4, 2, 2)
    result = operation(x)
    assert sizes(result) == sizes(operation(torch.zeros(1, 4, 2, 2)))
    if labels is None:
        assert result.channels is None
    else:
        assert result.channels.labels.squeeze().tolist() == labels
    assert trace.classes() == classes
    assert trace.reasons() == reasons
    assert trace.unprunable() == (set(range(4)) if reasons else set())


def test_a_count_of_another_tensor_ties_both() -> None:
    trace = Trace.of()
    x, other = trace.channels(1, 4, 2, 2), trace.channels(1, 4, 2, 2)
    x.view(1, other.shape[1], 4)
    settle(trace.records)
    assert trace.classes() == [0, 1, 2, 3] * 2
    assert not trace.unprunable()


def test_a_count_of_another_tensor_whose_channels_are_tied_later_ties_nothing_more() -> None:
    trace = Trace.of()
    x, other = trace.channels(1, 4, 2, 2), trace.channels(1, 4, 2, 2)
    x.view(1, other.shape[1], 4)
    x.flatten(2) + other.flatten(2)
    before = len(trace.records.tied)
    settle(trace.records)
    assert len(trace.records.tied) == before


def test_a_count_of_a_tensor_without_known_channels_must_stay() -> None:
    trace = Trace.of()
    x, unknown = trace.channels(1, 4, 2, 2), trace.unknown(1, 4, 2, 2)
    unknown.view(1, x.shape[1], 4)
    assert trace.unprunable() == set(range(4))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((5, 8, 6), (5, 2, 4, 6)),
        ((2, 3, 4), (24,)),
        ((4, 6), (3, 8)),
        ((1, 5), (5,)),
        ((5,), (5, 1, 1)),
        ((), (1,)),
    ],
)
def test_segments_hold_equally_many_values_and_cover_both_shapes(
    old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    segments = find_segments(old, new)
    assert tuple(size for segment in segments for size in old[segment.old]) == old
    assert tuple(size for segment in segments for size in new[segment.new]) == new
    for segment in segments:
        assert math.prod(old[segment.old]) == math.prod(new[segment.new])


def test_segments_are_the_shortest() -> None:
    segments = find_segments((5, 8, 6), (5, 2, 4, 6))
    assert [(s.old.stop - s.old.start, s.new.stop - s.new.start) for s in segments] == [
        (1, 1),
        (1, 2),
        (1, 1),
    ]
