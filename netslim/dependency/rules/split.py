"""Rules for operations that divide a tensor: split, chunk, slices.

A slice at a constant position keeps the channels that are counted to it: `x[:, :8]` and `x[:, 8:]` keep the
first 8. A count can be a position as well: after `torch.cat([a, b], 1)`, `a.shape[1]` is where `b` begins. A
division into equal parts of however many channels there are keeps only this: every part must lose
equally many.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import (
    channels_of,
    make,
    mark_counts,
    shape_of,
    unknown,
    without_counts,
)
from netslim.dependency.symbolic_size import ChannelCount, plain
from netslim.dependency.tracer import TracedTensor

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register("chunk", "tensor_split", keeps_offsets=True, returns_view=True)
def _chunk(func: Any, input: Any, chunks: Any, dim: int = 0) -> Any:
    if not isinstance(chunks, int):
        return unknown(func, input, chunks, dim)
    axis = dim % input.dim()
    widths = [part.shape[axis] for part in shape_of(func, input, chunks, dim)]
    return _parts(input, axis, widths, stay_equal=len(set(widths)) == 1 and len(widths) == chunks)


@RULES.register("split", "split_with_sizes", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _split(func: Any, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    axis = dim % tensor.dim()
    widths = [part.shape[axis] for part in shape_of(func, tensor, split_size_or_sections, dim)]
    given = split_size_or_sections
    sizes = given if isinstance(given, Sequence) else [given]
    channels = channels_of(tensor)
    if channels is None or not channels.varies_only_along(axis, tensor.shape[axis]):
        mark_counts(sizes)
        return _parts(tensor, axis, widths, stay_equal=False)
    labels = channels.labels.ravel()
    if all(isinstance(size, ChannelCount) and size.is_proportional_to(labels) for size in sizes):
        return _parts(tensor, axis, widths, stay_equal=len(set(widths)) == 1)
    if given is sizes:
        _follow_sections(tensor.records, labels, sizes)
        return _parts(tensor, axis, widths, stay_equal=None)
    if (
        isinstance(given, AttributeSize)
        and labels.size % plain(given) == 0
        and given.counts(labels[: plain(given)])
    ):
        return _parts(tensor, axis, widths, stay_equal=True)
    mark_counts(sizes)
    tensor.records.constants.update(map(plain, sizes))
    return _parts(tensor, axis, widths, stay_equal=False)


def _follow_sections(records: TraceRecords, labels: Ints, sizes: Sequence[Any]) -> None:
    """Each section has a count of as many channels, or must stay as wide as it is."""
    stop = 0
    stay: list[Ints] = []
    for size in sizes:
        start, stop = stop, stop + plain(size)
        section = labels[start:stop]
        if not _counts(size, section):
            mark_counts([size])
            records.constants.add(plain(size))
            stay.append(section)
    if stay:
        records.mark_unprunable(np.concatenate(stay), f"a constant size at {records.source_line()}")


def _counts(size: Any, labels: Ints) -> bool:
    """Whether a number that the model gives is the count of these channels, and stays it."""
    if isinstance(size, AttributeSize):
        return size.counts(labels)
    return isinstance(size, ChannelCount) and size.ratio == 1 and size.follows(labels)


@RULES.register("__getitem__", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _getitem(func: Any, input: Any, index: Any) -> Any:
    items = index if isinstance(index, tuple) else (index,)
    if not all(map(_is_basic, items)):
        return unknown(func, input, index)
    channels, shape = channels_of(input), shape_of(func, input, index).shape
    if channels is None:
        mark_counts(items)
        return make(input, None, shape)
    index_of_arrays: list[Any] = []
    axis = 0
    for item in _without_ellipsis(items, input.dim()):
        if item is None:  # a new axis
            index_of_arrays.append(None)
            continue
        if channels.labels.shape[axis] == 1:  # the channels do not vary along this axis, whatever is read
            mark_counts([item])
            index_of_arrays.append(0 if isinstance(item, int) else slice(None))
        else:
            if not _is_everything(item):
                _slice_channels(input.records, channels, axis, item)
            index_of_arrays.append(without_counts(item))
        axis += 1
    return make(input, channels.rearranged(lambda array: array[tuple(index_of_arrays)]), shape)


@RULES.register("narrow", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _narrow(func: Any, input: Any, dim: int, start: int, length: int) -> Any:
    index = (slice(None),) * (dim % input.dim()) + (slice(start, start + length),)
    return _getitem(Tensor.__getitem__, input, index)


def _is_basic(item: Any) -> bool:
    """Whether an item of an index is None, ..., an integer or a slice, and not a mask or a tensor."""
    return item is None or item is ... or (isinstance(item, (int, slice)) and not isinstance(item, bool))


def _without_ellipsis(items: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """The index with one item for each of the axes, and None for each new axis."""
    given = sum(item is not None and item is not ... for item in items)
    rest = (slice(None),) * (axes - given)
    position = next((number for number, item in enumerate(items) if item is ...), len(items))
    return (*items[:position], *rest, *items[position + 1 :])


def _is_everything(item: Any) -> bool:
    return isinstance(item, slice) and item.start is None and item.stop is None and item.step in (None, 1)


def _slice_channels(records: TraceRecords, channels: ChannelState, axis: int, item: Any) -> None:
    """Record an integer or a slice along the axis of the channels.

    Halves, thirds, ... by a count of these channels are equal blocks. A count of the channels before a
    position follows that position. Else the channels up to it stay at their place.
    """
    labels, size = channels.labels, channels.labels.shape[axis]
    along = labels.size == size
    if isinstance(item, slice) and item.step is None and along:
        bounds = [bound for bound in (item.start, item.stop) if bound is not None]
        if all(_stays_proportional(bound, labels) for bound in bounds):
            blocks = np.lcm.reduce([Fraction(plain(bound), size).denominator for bound in bounds])
            records.require_equal_blocks(labels.reshape(int(blocks), -1))
            return
    if not isinstance(item, slice):
        positions = [plain(item) + 1 if item >= 0 else plain(item)]
    elif item.step is None:
        positions = [bound for bound in (item.start, item.stop) if bound is not None]
    else:
        positions = [size]
    first, last = 0, 0  # how many channels at each end must stay
    for position in positions:
        before = labels.ravel()[: plain(position)]
        if not (along and _counts(position, before)):
            mark_counts([position])
            records.constants.add(abs(plain(position)))
            first, last = max(first, plain(position)), max(last, -plain(position))
    if first or last:
        stay = [*range(min(first, size)), *range(max(size - last, 0), size)]
        records.mark_unprunable(labels.take(stay, axis), f"a constant index at {records.source_line()}")


def _stays_proportional(bound: Any, labels: Ints) -> bool:
    if isinstance(bound, ChannelCount):
        return bound.is_proportional_to(labels)
    return plain(bound) == 0


def _parts(
    input: TracedTensor, axis: int, widths: list[int], *, stay_equal: bool | None
) -> list[TracedTensor]:
    """The input divided along `axis`.

    Args:
        stay_equal: the parts stay equally wide, however many channels there are. If not, the channels must
            stay; None if what they need is recorded already.
    """
    channels, records = channels_of(input), input.records
    shapes = [[*input.shape[:axis], width, *input.shape[axis + 1 :]] for width in widths]
    if channels is None or channels.labels.shape[axis] == 1:
        return [make(input, channels, shape) for shape in shapes]
    if stay_equal and channels.varies_only_along(axis, input.shape[axis]):
        records.require_equal_blocks(channels.labels.reshape(len(widths), -1))
    elif stay_equal is not None:
        records.mark_unprunable(channels.labels, f"a constant size at {records.source_line()}")
    ends = np.cumsum(widths).tolist()
    parts = []
    for start, stop, shape in zip([0, *ends], ends, shapes, strict=False):
        index = (slice(None),) * axis + (slice(start, stop),)
        parts.append(make(input, channels.rearranged(lambda array, index=index: array[index]), shape))  # type: ignore[misc]
    return parts
