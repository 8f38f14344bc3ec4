"""Rules for operations that join tensors or take them apart: concat, split, chunk, slices.

Where a tensor is cut at a constant, the channels on both sides must stay. Where it is cut into equal parts of
whatever there is, every part must lose as many as the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from netslim.dependency.channel_state import Array, ChannelState
from netslim.dependency.symbolic_size import Count
from netslim.dependency.tracer import Traced, channels_of, made, rule, shape_of, unknown

__all__: list[str] = []


@rule("cat", "concat", "concatenate", linear=True)
def _concat(func: Any, tensors: Any, dim: int = 0) -> Any:
    like = next(tensor for tensor in tensors if isinstance(tensor, Traced))
    axis = dim % like.dim()
    shape = list(like.shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    pieces = [channels_of(tensor) if isinstance(tensor, Traced) else None for tensor in tensors]
    if not any(pieces):
        return made(like, None, shape)
    crosswise = any(
        size > 1 for piece in pieces if piece for a, size in enumerate(piece.labels.shape) if a != axis
    )
    if crosswise:
        return _stack(like, tensors, pieces, shape)
    parts = [_spread(tensor, piece, axis) for tensor, piece in zip(tensors, pieces, strict=True)]
    return made(like, _joined(parts, axis), shape)


@rule("chunk", "tensor_split", linear=True, view=True)
def _chunk(func: Any, input: Any, chunks: Any, dim: int = 0) -> Any:
    if not isinstance(chunks, int):
        return unknown(func, (input, chunks, dim), {})
    outs, axis = shape_of(func, (input, chunks, dim), {}), dim % input.dim()
    widths = [out.shape[axis] for out in outs]
    return _parts(input, axis, widths, equal=len(set(widths)) == 1 and len(widths) == chunks)


@rule("split", "split_with_sizes", counts=True, linear=True, view=True)
def _split(func: Any, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
    sizes, axis = split_size_or_sections, dim % tensor.dim()
    widths = [out.shape[axis] for out in shape_of(func, (tensor, sizes, dim), {})]
    given = list(sizes) if isinstance(sizes, Sequence) else [sizes]
    channels = channels_of(tensor)
    follows = all(isinstance(s, Count) and channels and s.follows(channels.labels) for s in given)
    for size in given:
        if isinstance(size, Count) and not follows:
            size.mark_unprunable()
    return _parts(tensor, axis, widths, equal=follows and len(set(widths)) == 1)


@rule("__getitem__", counts=True, linear=True, view=True)
def _getitem(func: Any, input: Any, index: Any) -> Any:
    given = index if isinstance(index, tuple) else (index,)
    if any(
        not (item is None or item is ... or isinstance(item, (int, slice))) or isinstance(item, bool)
        for item in given
    ):
        return unknown(func, (input, index), {})
    channels = channels_of(input)
    shape = shape_of(func, (input, index), {}).shape
    if channels is None:
        return made(input, None, shape)
    axes = sum(item is not None and item is not ... for item in given)
    rest = (slice(None),) * (input.dim() - axes)
    spot = given.index(...) if ... in given else len(given)
    whole = (*given[:spot], *rest, *given[spot + 1 :])
    own: list[Any] = []
    axis = 0
    for item in whole:
        if item is None:
            own.append(item)
            continue
        if channels.labels.shape[axis] > 1 and not _everything(item):
            _cut(input, channels, axis, item)
            own.append(_plain(item))
        else:
            own.append(0 if isinstance(item, int) else slice(None))
        axis += 1
    return made(input, channels.moved(lambda array: array[tuple(own)]), shape)


@rule("narrow", linear=True, view=True)
def _narrow(func: Any, input: Any, dim: int, start: int, length: int) -> Any:
    index = (slice(None),) * (dim % input.dim()) + (slice(start, start + length),)
    return _getitem(Tensor.__getitem__, input, index)


def _cut(input: Traced, channels: ChannelState, axis: int, item: Any) -> None:
    """A slice along the channels: they keep their halves, thirds, ... if it says so, else their places."""
    records, size = input.records, channels.labels.shape[axis]
    bounds = (
        [bound for bound in (item.start, item.stop) if bound is not None]
        if isinstance(item, slice)
        else [item]
    )
    counts = [bound for bound in bounds if isinstance(bound, Count)]
    fits = all(b.follows(channels.labels) if isinstance(b, Count) else b == 0 for b in bounds)
    if isinstance(item, slice) and item.step is None and fits and channels.labels.size == size:
        parts = np.lcm.reduce([Fraction(int(bound), size).denominator for bound in bounds])
        records.require_equal_blocks(channels.labels.reshape(int(parts), -1))
        return
    for count in counts:
        count.mark_unprunable()
    records.mark_unprunable(channels.labels, f"a constant index at {records.source_line()}")


def _everything(item: Any) -> bool:
    return isinstance(item, slice) and item.start is None and item.stop is None and item.step in (None, 1)


def _plain(item: Any) -> Any:
    if not isinstance(item, slice):
        return int(item)
    return slice(*(None if bound is None else int(bound) for bound in (item.start, item.stop, item.step)))


def _parts(input: Traced, axis: int, widths: list[int], *, equal: bool) -> list[Traced]:
    """The input cut along `axis`; `equal` if every part will stay as large as the others."""
    channels, records = channels_of(input), input.records
    shapes = [[*input.shape[:axis], width, *input.shape[axis + 1 :]] for width in widths]
    if channels is None or channels.labels.shape[axis] == 1:
        return [made(input, channels, shape) for shape in shapes]
    if equal and channels.lie_along(axis, input.shape[axis]):
        records.require_equal_blocks(channels.labels.reshape(len(widths), -1))
    else:
        records.mark_unprunable(channels.labels, f"a constant size at {records.source_line()}")
    cuts = np.cumsum(widths)[:-1]
    split = [channels.moved(lambda array, n=n: np.split(array, cuts, axis)[n]) for n in range(len(widths))]  # type: ignore[misc]
    return [made(input, piece, shape) for piece, shape in zip(split, shapes, strict=True)]


def _spread(tensor: Any, channels: ChannelState | None, axis: int) -> ChannelState:
    """ChannelState written out along `axis`; new ones that must stay where they are not known."""
    size = tensor.shape[axis]
    if channels is not None and channels.labels.shape[axis] == size:
        return channels
    records = tensor.records
    lies = [size if number == axis else 1 for number in range(tensor.dim())]
    labels = records.new_labels(size).reshape(lies)
    records.mark_unprunable(labels, tensor.why)
    if channels is not None:
        records.mark_unprunable(channels.labels, f"joined along another axis at {records.source_line()}")
    return ChannelState.raw(labels)


def _joined(parts: list[ChannelState], axis: int) -> ChannelState:
    def join(arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays, axis)

    terms = []
    for number in range(max(len(part.conv_sources) for part in parts)):
        none = [np.full_like(part.labels, -1) for part in parts]
        terms.append(
            join(
                [
                    (*part.conv_sources[number : number + 1], gap)[0]
                    for part, gap in zip(parts, none, strict=True)
                ]
            )
        )
    return ChannelState(
        join([part.labels for part in parts]),
        join([part.value_without_bias for part in parts]),
        join([part.value_with_bias for part in parts]),
        all(part.exact for part in parts),
        tuple(terms),
    )


def _stack(like: Traced, tensors: Any, pieces: list[ChannelState | None], shape: list[int]) -> Traced:
    """Joined along an axis on which channels do not lie: what lies at one place is the same channel."""
    records, first = like.records, pieces[0]
    if first is None or any(piece is None or piece.labels.shape != first.labels.shape for piece in pieces):
        told = f"tensors of known and unknown channels are joined at {records.source_line()}"
        for piece in pieces:
            if piece is not None:
                records.mark_unprunable(piece.labels, told)
        return made(like, None, shape, why=told)
    masked, constant = first.value_without_bias, first.value_with_bias
    for piece in filter(None, pieces[1:]):
        records.tie(first.labels, piece.labels)
        masked = np.where(masked == piece.value_without_bias, masked, np.nan)
        constant = np.where(constant == piece.value_with_bias, constant, np.nan)
    records.uncompensated_sources.extend(term for piece in pieces if piece for term in piece.conv_sources)
    exact = all(piece.exact for piece in pieces if piece)
    return made(like, ChannelState(first.labels, masked, constant, exact), shape)
