"""Rules for operations that rearrange axes: permutations and reshapes.

They are applied to the arrays of the channels as they are applied to the tensor. It has to be proven that the
same line of the model computes the same once channels are removed. A size that is a constant in the model's
code stays as it is: `view(n, 2, -1)` always gives two rows, so the channels of one column are tied. A size
that is read from a shape, or left free as -1, gets smaller with the channels:

    x                           (n, c, h, w)             channels vary along axis 1
    x.view(n, 2, c // 2, h, w)  (n, 2, c // 2, h, w)     the segment c -> (2, c // 2) is divided
      .transpose(1, 2)          (n, c // 2, 2, h, w)
      .reshape(n, c, h, w)      (n, c, h, w)             the segment (c // 2, 2) -> c is joined
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import channels_of, make, mark_counts, size_of, unknown
from netslim.dependency.symbolic_size import ChannelCount, plain
from netslim.dependency.tracer import TracedTensor

__all__ = ["RULES", "Segment", "find_segments"]

RULES = RuleSet()

FREE = -1
"""In place of a size: it follows from the input and the other sizes."""


@RULES.register(
    *("permute", "transpose", "transpose_", "swapaxes", "swapdims", "movedim", "moveaxis"),
    *("t", "t_", "T", "mT"),
    keeps_offsets=True,
    returns_view=True,
)
def _permute(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """The order of the axes is read from a tensor in which each axis has a size of its own."""
    probe = func(torch.empty(tuple(range(2, 2 + input.dim())), device="meta"), *args, **kwargs)
    order = [size - 2 for size in probe.shape]
    channels = channels_of(input)
    moved = channels.rearranged(lambda array: array.transpose(order)) if channels else None
    return make(input, moved, [input.shape[axis] for axis in order])


@RULES.register("flip", "roll", keeps_offsets=True)
def _flip_or_roll(func: Any, input: Any, shifts: Any, dims: Any = None) -> Any:
    """Values move along axes along which channels do not vary. The axes of `flip` are its first argument."""
    axes = dims if func.__name__ == "roll" else shifts
    channels = channels_of(input)
    listed = axes if isinstance(axes, Sequence) else (axes,)
    if channels is not None and (axes is None or any(channels.labels.shape[axis] > 1 for axis in listed)):
        return unknown(func, input, shifts, *(() if dims is None else (dims,)))
    return make(input, channels)


@RULES.register("view", "reshape", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _reshape(func: Any, input: Any, *shape: Any, **kwargs: Any) -> Any:
    if kwargs or isinstance(shape[0], torch.dtype):
        return unknown(func, input, *shape, **kwargs)
    return _to_sizes(input, shape[0] if isinstance(shape[0], Sequence) else shape)


@RULES.register("view_as", "reshape_as", keeps_offsets=True, returns_view=True)
def _reshape_as(func: Any, input: Any, other: Any) -> Any:
    return _to_sizes(input, size_of(other) if isinstance(other, TracedTensor) else other.shape)


@RULES.register("flatten", "ravel", keeps_offsets=True, returns_view=True)
def _flatten(func: Any, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    first, last = start_dim % max(input.dim(), 1), end_dim % max(input.dim(), 1)
    merged = math.prod(input.shape[first : last + 1])
    return _to_shape(input, (*input.shape[:first], merged, *input.shape[last + 1 :]))


@RULES.register("unflatten", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _unflatten(func: Any, input: Any, dim: int, sizes: Any) -> Any:
    old, axis = size_of(input), dim % input.dim()
    return _to_sizes(input, (*old[:axis], *sizes, *old[axis + 1 :]))


@RULES.register("unsqueeze", "unsqueeze_", keeps_offsets=True, returns_view=True)
def _unsqueeze(func: Any, input: Any, dim: int) -> Any:
    axis = dim % (input.dim() + 1)
    return _to_shape(input, (*input.shape[:axis], 1, *input.shape[axis:]))


@RULES.register("squeeze", "squeeze_", keeps_offsets=True, returns_view=True)
def _squeeze(func: Any, input: Any, dim: Any = None) -> Any:
    if dim is None:  # an axis may get size 1 when channels are removed
        return unknown(func, input)
    dims = {d % input.dim() for d in (dim if isinstance(dim, Sequence) else (dim,))}
    return _to_shape(input, [s for axis, s in enumerate(input.shape) if axis not in dims or s != 1])


@RULES.register("expand", accepts_counts=True, keeps_offsets=True, returns_view=True)
def _expand(func: Any, input: Any, *sizes: Any) -> Any:
    given = list(sizes[0] if isinstance(sizes[0], Sequence) else sizes)
    new_axes = len(given) - input.dim()
    old = (1,) * new_axes + tuple(input.shape)
    shape = [had if plain(size) == FREE else plain(size) for had, size in zip(old, given, strict=True)]
    channels = channels_of(input)
    if channels is None:
        mark_counts(given)
        return make(input, None, shape)
    channels = channels.rearranged(lambda array: array.reshape((1,) * new_axes + array.shape))
    for size, varying in zip(given, channels.labels.shape, strict=True):
        if isinstance(size, AttributeSize):
            size.mark_unprunable()
        if isinstance(size, ChannelCount):
            if varying == 1 or not size.follows(channels.labels):
                size.mark_unprunable()
        elif varying > 1 and size != FREE:
            _mark_constant_size(input.records, channels)
    return make(input, channels, shape)


@RULES.register("channel_shuffle", "native_channel_shuffle", keeps_offsets=True)
def _channel_shuffle(func: Any, input: Any, groups: int) -> Any:
    rows = _to_sizes(input, (input.shape[0], groups, FREE, *input.shape[2:]))
    return _to_shape(_permute(torch.transpose, rows, 1, 2), input.shape)


def _to_sizes(input: TracedTensor, sizes: Sequence[Any]) -> TracedTensor:
    """Reshape to sizes that the model gives: constants, channel counts, and at most one FREE."""
    numbers = [plain(size) for size in sizes]
    free = input.numel() // max(math.prod(size for size in numbers if size != FREE), 1)
    return _regroup(input, sizes, [free if size == FREE else size for size in numbers])


def _to_shape(input: TracedTensor, shape: Sequence[int]) -> TracedTensor:
    """Reshape by an operation whose sizes all follow from the input."""
    return _regroup(input, [FREE] * len(shape), shape)


def _regroup(input: TracedTensor, sizes: Sequence[Any], shape: Sequence[int]) -> TracedTensor:
    """Split and merge axes; `shape` is what `sizes` are now."""
    channels = channels_of(input)
    if channels is None:
        mark_counts(sizes)
        return make(input, None, shape)
    channels = _reshape_channels(channels, tuple(input.shape), shape)
    _mark_sizes_that_do_not_follow(input.records, channels, sizes)
    return make(input, channels, shape)


def _reshape_channels(channels: ChannelState, old: Sequence[int], new: Sequence[int]) -> ChannelState:
    """The arrays of the channels, reshaped as a tensor is reshaped from `old` to `new`."""
    expanded, reshaped = list(channels.labels.shape), [1] * len(new)
    for segment in find_segments(old, new):
        if (
            max(expanded[segment.old], default=1) > 1
        ):  # the channels vary here: all sizes of the segment count
            expanded[segment.old], reshaped[segment.new] = old[segment.old], new[segment.new]
    result = channels.rearranged(lambda array: np.broadcast_to(array, expanded).reshape(reshaped))
    for axis, size in enumerate(reshaped):
        if size > 1 and (result.labels == result.labels.take([0], axis)).all():  # no label varies along it
            result = result.rearranged(lambda array, axis=axis: array.take([0], axis))  # type: ignore[misc]
    return result


def _mark_sizes_that_do_not_follow(
    records: TraceRecords, channels: ChannelState, sizes: Iterable[Any]
) -> None:
    """Channels may be removed if exactly one axis along which they vary gets smaller with them.

    Along the other axes the size is a constant, so the channels at one place of them are tied.
    """
    follows = set()
    varying = {axis for axis, size in enumerate(channels.labels.shape) if size > 1}
    for axis, size in enumerate(sizes):
        if isinstance(size, ChannelCount):
            if axis in varying and size.follows(channels.labels):
                follows.add(axis)
            else:
                size.mark_unprunable()
        elif size == FREE:
            follows.add(axis)
    if varying and len(varying & follows) != 1:
        _mark_constant_size(records, channels)
    for axis in varying - follows:
        first = np.broadcast_to(channels.labels.take([0], axis), channels.labels.shape)
        records.tie(channels.labels, first)


def _mark_constant_size(records: TraceRecords, channels: ChannelState) -> None:
    records.mark_unprunable(channels.labels, f"a constant size at {records.source_line()}")


class Segment(NamedTuple):
    """Axes of the old shape and axes of the new shape that hold equally many values."""

    old: slice
    new: slice


def find_segments(old: Sequence[int], new: Sequence[int]) -> list[Segment]:
    """Divide two shapes of equally many values into the shortest segments.

    For example, (5, 8, 6) and (5, 2, 4, 6) give the segments 5 -> 5, 8 -> (2, 4) and 6 -> 6.
    """
    segments = []
    old_stop = new_stop = 0
    while old_stop < len(old) or new_stop < len(new):
        old_start, new_start = old_stop, new_stop
        old_stop, new_stop = min(old_start + 1, len(old)), min(new_start + 1, len(new))
        old_count, new_count = math.prod(old[old_start:old_stop]), math.prod(new[new_start:new_stop])
        while old_count != new_count:
            if old_count < new_count:
                old_count, old_stop = old_count * old[old_stop], old_stop + 1
            else:
                new_count, new_stop = new_count * new[new_stop], new_stop + 1
        segments.append(Segment(slice(old_start, old_stop), slice(new_start, new_stop)))
    return segments
