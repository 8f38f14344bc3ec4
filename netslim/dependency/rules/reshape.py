"""Rules for operations that turn axes: permutations and reshapes, done to the arrays of the channels as well.

What has to be proven is that the same line of the model still does the same once channels are gone. A size
that is a constant in the model's code *pins* its axis: `view(n, 2, -1)` makes two rows for ever, so channels
that lie in one column of them go together. A size that is read from a shape follows by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from netslim.dependency.channel_state import Array, ChannelState
from netslim.dependency.symbolic_size import Count
from netslim.dependency.tracer import Traced, channels_of, made, rule, size_of, unknown

__all__: list[str] = []

FREE = -1
"""In place of a size: whatever is left over, or what the operation itself makes of the input."""


@rule(
    "permute",
    "transpose",
    "transpose_",
    "swapaxes",
    "swapdims",
    "movedim",
    "moveaxis",
    linear=True,
    view=True,
)
@rule("t", "t_", "T", "mT", linear=True, view=True)
def _permute(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """A tensor whose axes have sizes of their own shows where each goes."""
    probe = func(torch.empty(tuple(range(2, 2 + input.dim())), device="meta"), *args, **kwargs)
    order = [size - 2 for size in probe.shape]
    channels = channels_of(input)
    moved = channels.moved(lambda array: array.transpose(order)) if channels else None
    return made(input, moved, [input.shape[axis] for axis in order])


@rule("flip", "roll", linear=True)
def _along_axes(func: Any, input: Any, shifts: Any, dims: Any = None) -> Any:
    """Values change places along axes on which no channels lie."""
    axes = dims if func.__name__ == "roll" else shifts
    channels = channels_of(input)
    listed = axes if isinstance(axes, Sequence) else (axes,)
    if channels is not None and (axes is None or any(channels.labels.shape[axis] > 1 for axis in listed)):
        return unknown(func, (input, shifts) if dims is None else (input, shifts, dims), {})
    return made(input, channels)


@rule("view", "reshape", counts=True, linear=True, view=True)
def _reshape(func: Any, input: Any, *shape: Any, **kwargs: Any) -> Any:
    if kwargs or isinstance(shape[0], torch.dtype):
        return unknown(func, (input, *shape), kwargs)
    return _regroup(input, shape[0] if isinstance(shape[0], Sequence) else shape)


@rule("view_as", "reshape_as", linear=True, view=True)
def _reshape_as(func: Any, input: Any, other: Any) -> Any:
    return _regroup(input, size_of(other) if isinstance(other, Traced) else other.shape)


@rule("flatten", "ravel", linear=True, view=True)
def _flatten(func: Any, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    first, last = start_dim % max(input.dim(), 1), end_dim % max(input.dim(), 1)
    merged = math.prod(input.shape[first : last + 1])
    return _regroup(input, None, (*input.shape[:first], merged, *input.shape[last + 1 :]))


@rule("unflatten", counts=True, linear=True, view=True)
def _unflatten(func: Any, input: Any, dim: int, sizes: Any) -> Any:
    whole, axis = size_of(input), dim % input.dim()
    return _regroup(input, (*whole[:axis], *sizes, *whole[axis + 1 :]))


@rule("unsqueeze", "unsqueeze_", linear=True, view=True)
def _unsqueeze(func: Any, input: Any, dim: int) -> Any:
    axis = dim % (input.dim() + 1)
    return _regroup(input, None, (*input.shape[:axis], 1, *input.shape[axis:]))


@rule("squeeze", "squeeze_", linear=True, view=True)
def _squeeze(func: Any, input: Any, dim: Any = None) -> Any:
    if dim is None:  # which axes are 1 long may change when channels go
        return unknown(func, (input,), {})
    dims = {d % input.dim() for d in (dim if isinstance(dim, Sequence) else (dim,))}
    kept = [size for axis, size in enumerate(input.shape) if axis not in dims or size != 1]
    return _regroup(input, None, kept)


@rule("expand", counts=True, linear=True, view=True)
def _expand(func: Any, input: Any, *sizes: Any) -> Any:
    given = list(sizes[0] if isinstance(sizes[0], Sequence) else sizes)
    lead = len(given) - input.dim()
    old = (1,) * lead + tuple(input.shape)
    shape = [had if size == FREE else int(size) for had, size in zip(old, map(int, given), strict=True)]
    channels = channels_of(input)
    for axis, size in enumerate(given):
        varies = channels is not None and axis >= lead and channels.labels.shape[axis - lead] > 1
        if isinstance(size, Count) and not (varies and size.follows(channels.labels)):  # type: ignore[union-attr]
            size.mark_unprunable()
        elif varies and type(size) is int and size != FREE:
            reason = f"a constant size at {input.records.source_line()}"
            input.records.mark_unprunable(channels.labels, reason)  # type: ignore[union-attr]
    if channels is not None:
        channels = channels.moved(lambda array: array.reshape((1,) * lead + array.shape))
    return made(input, channels, shape)


@rule("channel_shuffle", "native_channel_shuffle", linear=True)
def _channel_shuffle(func: Any, input: Any, groups: int) -> Any:
    rows = _regroup(input, (input.shape[0], groups, FREE, *input.shape[2:]))
    return _regroup(_permute(torch.transpose, rows, 1, 2), None, input.shape)


@rule("pixel_unshuffle", linear=True)
def _pixel_unshuffle(func: Any, input: Any, downscale_factor: int) -> Any:
    times, channels = downscale_factor**2, channels_of(input)
    *lead, count, height, width = input.shape
    shape = (*lead, count * times, height // downscale_factor, width // downscale_factor)
    vectors = channels.along(len(lead), count) if channels else None
    if channels is not None and vectors is None:
        return unknown(func, (input, downscale_factor), {})
    lies = (*(1,) * len(lead), -1, 1, 1)
    spread = vectors.moved(lambda vector: np.repeat(vector, times).reshape(lies)) if vectors else None
    return made(input, spread, shape)


@rule("pixel_shuffle")
def _pixel_shuffle(func: Any, input: Any, upscale_factor: int) -> Any:
    times, channels = upscale_factor**2, channels_of(input)
    *lead, count, height, width = input.shape
    shape = (*lead, count // times, height * upscale_factor, width * upscale_factor)
    vectors = channels.along(len(lead), count) if channels else None
    if channels is not None and (vectors is None or count == times):
        return unknown(func, (input, upscale_factor), {})
    if vectors is None:
        return made(input, None, shape)
    blocks = vectors.moved(lambda vector: vector.reshape(-1, times))
    input.records.tie(
        blocks.labels[:, 1:], np.broadcast_to(blocks.labels[:, :1], (count // times, times - 1))
    )
    lies = (*(1,) * len(lead), -1, 1, 1)

    def agreed(sent: Array) -> Array:
        return np.where((sent == sent[:, :1]).all(axis=1), sent[:, 0], np.nan).reshape(lies)

    labels = blocks.labels[:, 0].reshape(lies)
    return made(
        input,
        ChannelState(labels, agreed(blocks.value_without_bias), agreed(blocks.value_with_bias), blocks.exact),
        shape,
    )


def _regroup(input: Traced, sizes: Any, shape: Any = None) -> Traced:
    """Split and merge axes.

    Args:
        sizes: as the model gives them: constants, `Count`s, `FREE`; None if all follow from the input.
        shape: the shape of the result where `sizes` is None.
    """
    old, records, channels = tuple(input.shape), input.records, channels_of(input)
    if sizes is not None:
        known = math.prod(int(size) for size in sizes if int(size) != FREE)
        shape = [math.prod(old) // max(known, 1) if int(size) == FREE else int(size) for size in sizes]
    else:
        sizes = [FREE] * len(shape)
    if channels is None:
        return made(input, None, shape)
    wide, narrow = list(channels.labels.shape), [1] * len(shape)
    free = [axis for axis, size in enumerate(sizes) if isinstance(size, Count) or int(size) == FREE]
    for start, stop, new_start, new_stop in _segments(old, shape):
        if max(wide[start:stop], default=1) > 1:  # channels lie here: write out all axes they share
            wide[start:stop], narrow[new_start:new_stop] = old[start:stop], shape[new_start:new_stop]
    moved = channels.moved(lambda array: np.broadcast_to(array, wide).reshape(narrow))
    for axis, size in enumerate(narrow):
        first = moved.labels.take([0], axis)
        if size > 1 and (moved.labels == first).all():
            moved = moved.moved(lambda array, axis=axis: array.take([0], axis))  # type: ignore[misc]
    varying = [axis for axis, size in enumerate(moved.labels.shape) if size > 1]
    for axis, size in enumerate(sizes):
        if isinstance(size, Count) and not (axis in varying and size.follows(moved.labels)):
            size.mark_unprunable()
    if len(set(varying) & set(free)) != 1 and varying:
        records.mark_unprunable(moved.labels, f"a constant size at {records.source_line()}")
    for axis in set(varying) - set(free):
        first = np.broadcast_to(moved.labels.take([0], axis), moved.labels.shape)
        records.tie(moved.labels, first)
    return made(input, moved, shape)


def _segments(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """The shortest runs of axes (old start, stop, new start, stop) that hold as many values as each other."""
    found, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start, new_start = i, j
        held, new_held = old[i] if i < len(old) else 1, new[j] if j < len(new) else 1
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while held != new_held:
            if held < new_held:
                held, i = held * old[i], i + 1
            else:
                new_held, j = new_held * new[j], j + 1
        found.append((start, i, new_start, j))
    return found
