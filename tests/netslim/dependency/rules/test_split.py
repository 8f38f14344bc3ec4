"""Split, chunk and slices, of joined tensors as well: which channels the parts have, and which must stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.helpers.traces import Trace, has_no_channels, labels_of, sizes

ALL = {0, 1, 2, 3}
# operation on (1, 4, 2, 2), labels of each part, equal blocks, labels that must stay, reasons
TABLE: dict[str, tuple[Callable[[Any], Any], list[list[int]], Any, set[int], list[str]]] = {
    "chunk": (lambda x: x.chunk(2, 1), [[0, 1], [2, 3]], [[[0, 1], [2, 3]]], set(), []),
    "chunk into unequal parts": (
        lambda x: x.chunk(3, 1), [[0, 1], [2, 3]], [], ALL, ["a constant size"]
    ),
    "split by a constant": (lambda x: x.split(2, 1), [[0, 1], [2, 3]], [], ALL, ["a constant size"]),
    "split by the count": (
        lambda x: x.split(x.shape[1] // 2, 1), [[0, 1], [2, 3]], [[[0, 1], [2, 3]]], set(), []
    ),
    "split of space": (lambda x: x.split(1, 2), [[0, 1, 2, 3]] * 2, [], set(), []),
    "first half": (lambda x: [x[:, : x.shape[1] // 2]], [[0, 1]], [[[0, 1], [2, 3]]], set(), []),
    "second half": (lambda x: [x[:, x.shape[1] // 2 :]], [[2, 3]], [[[0, 1], [2, 3]]], set(), []),
    "a quarter": (
        lambda x: [x[:, : x.shape[1] // 4]], [[0]], [[[0], [1], [2], [3]]], set(), []
    ),
    "everything": (lambda x: [x[:]], [[0, 1, 2, 3]], [], set(), []),
    "space, from behind": (lambda x: [x[..., 0]], [[0, 1, 2, 3]], [], set(), []),
    "a new axis": (lambda x: [x[:, None]], [[0, 1, 2, 3]], [], set(), []),
    "one channel": (lambda x: [x[:, 2:3]], [[2]], [], {0, 1, 2}, ["a constant index"]),
    "every other channel": (lambda x: [x[:, ::2]], [[0, 2]], [], ALL, ["a constant index"]),
    "narrow": (lambda x: [x.narrow(1, 1, 2)], [[1, 2]], [], {0, 1, 2}, ["a constant index"]),
    "from the second on": (lambda x: [x[:, 1:]], [[1, 2, 3]], [], {0}, ["a constant index"]),
    "the last two": (lambda x: [x[:, -2:]], [[2, 3]], [], {2, 3}, ["a constant index"]),
    "without the last": (lambda x: [x[:, :-1]], [[0, 1, 2]], [], {3}, ["a constant index"]),
    "without both ends": (lambda x: [x[:, 1:-1]], [[1, 2]], [], {0, 3}, ["a constant index"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_channels_of_each_part(name: str) -> None:
    operation, labels, blocks, unprunable, reasons = TABLE[name]
    trace = Trace.of()
    parts = operation(trace.channels(1, 4, 2, 2))
    truth = operation(torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 2, 2))
    assert list(map(sizes, parts)) == list(map(sizes, truth))
    assert [labels_of(part) for part in parts] == labels
    assert [part.unique().tolist() for part in truth] == labels  # torch itself on the numbers of the channels
    assert trace.blocks() == blocks
    assert trace.unprunable() == unprunable
    assert trace.reasons() == reasons


def test_a_mask_has_no_rule() -> None:
    trace = Trace.of()
    x = trace.channels(1, 4, 2, 2)
    assert has_no_channels(x[:, [0, 2]])
    assert trace.unprunable() == ALL


def test_a_slice_by_the_count_of_another_tensor_marks_that_count() -> None:
    trace = Trace.of()
    unknown, x = trace.unknown(1, 8, 2, 2), trace.channels(1, 4, 2, 2)
    unknown[:, : x.shape[1]]
    assert trace.unprunable() == ALL
