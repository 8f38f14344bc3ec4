"""Slices of weights: some entries of the first two axes, copied in the memory format of the original."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.pruning.plan import ChannelIndex, Ints, LayerEdit

__all__ = ["RowReader", "copy_tensor", "kept_groups", "slice_grouped_weight", "slice_weight"]

_PART_BYTES = 1 << 18
"""How many bytes of a weight are sliced at once, so that they stay in the cache between the two axes."""


class RowReader(Protocol):
    """Receives the kept rows of a weight while they are in the cache."""

    def add(self, rows: Tensor) -> None:
        """Receive the next kept rows, with all of axis 1."""


def slice_weight(
    tensor: Tensor, out: ChannelIndex | None, in_: ChannelIndex | None = None, reader: RowReader | None = None
) -> Tensor:
    """A copy of the entries `out` of axis 0 and `in_` of axis 1; None for all.

    Args:
        reader: receives the kept entries of axis 0, in order and some at a time, if `in_` is given.
    """
    if in_ is None:
        if out is None:
            return copy_tensor(tensor)
        return _in_format_of(tensor, _select_rows(tensor, out.index))
    if tensor.is_cpu and tensor.is_contiguous():
        return _slice_in_parts(tensor, out, in_.index, reader)
    rows = tensor if out is None else _select_rows(tensor, out.index)
    if reader is not None:
        reader.add(rows)
    return _in_format_of(tensor, rows.index_select(1, _index(in_.index, tensor)))


def slice_grouped_weight(tensor: Tensor, conv: _ConvNd, edit: LayerEdit) -> Tensor:
    """A copy of the kept part of a grouped convolution's weight.

    Each group keeps equally many inputs, or none: once a pass has left one input in each group, the next one
    removes whole groups. Axis 0 of the weight counts the channels of all groups, axis 1 those of one group.
    In a transposed convolution axis 0 is the inputs.
    """
    first = edit.out or ChannelIndex(conv.out_channels, np.arange(conv.out_channels))
    second = edit.in_ or ChannelIndex(conv.in_channels, np.arange(conv.in_channels))
    if isinstance(conv, _ConvTransposeNd):
        first, second = second, first
    rows = first.index
    width, *kernel = tensor.shape[1:]
    if conv.groups == conv.in_channels or second.index.size == second.of:  # whole groups are kept
        return _in_format_of(tensor, _select_rows(tensor, rows))
    group_of_row, group_of_column = (side.index // (side.of // conv.groups) for side in (first, second))
    groups, counts = np.unique(group_of_column, return_counts=True)
    columns = np.zeros((conv.groups, counts[0]), dtype=np.int64)
    columns[groups] = second.index.reshape(len(groups), -1) % width
    kernels = (rows[:, None] * width + columns[group_of_row]).ravel()
    sliced = _select_rows(tensor.reshape(-1, *kernel), kernels)
    return _in_format_of(tensor, sliced.reshape(len(rows), -1, *kernel))


def kept_groups(conv: _ConvNd, edit: LayerEdit) -> int:
    """How many groups of a grouped convolution an edit keeps; 0 if the groups would not stay equal."""
    if conv.groups == conv.in_channels == conv.out_channels and edit.in_ and edit.in_ == edit.out:
        return edit.in_.index.size  # depthwise, the common case
    kept = []
    for width, keep in ((conv.out_channels, edit.out), (conv.in_channels, edit.in_)):
        if keep is None:
            kept.append(np.arange(conv.groups))
            continue
        counts = np.bincount(keep.index // (width // conv.groups))
        kept.append(np.flatnonzero(counts))
        if np.ptp(counts[kept[-1]]):
            return 0
    outputs, inputs = kept
    return len(outputs) if np.array_equal(outputs, inputs) else 0


def copy_tensor(tensor: Tensor) -> Tensor:
    """A copy in the same memory format."""
    return tensor.clone(memory_format=torch.preserve_format)


def _slice_in_parts(tensor: Tensor, out: ChannelIndex | None, in_: Ints, reader: RowReader | None) -> Tensor:
    """Slice both axes of a contiguous tensor on the CPU, some rows at a time."""
    count = tensor.shape[0] if out is None else out.index.size
    sliced = tensor.new_empty((count, in_.size, *tensor.shape[2:]))
    source, result = _array(tensor, 2), _array(sliced, 2)
    rows = max(1, _PART_BYTES // max(source[0].size, 1))
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        part = source[some] if out is None else source.take(out.index[some], axis=0)
        if reader is not None:
            reader.add(torch.from_numpy(part).view(tensor.dtype))
        part.take(in_, axis=1, out=result[some], mode="clip")  # the mode "raise" would copy once more
    return sliced


def _select_rows(tensor: Tensor, index: Ints) -> Tensor:
    """Some entries of axis 0."""
    if tensor.dim() == 1 or not (tensor.is_cpu and tensor.is_contiguous()):
        return tensor.index_select(0, _index(index, tensor))
    sliced = tensor.new_empty((len(index), *tensor.shape[1:]))
    _array(tensor, 1).take(index, axis=0, out=_array(sliced, 1), mode="clip")
    return sliced


def _array(tensor: Tensor, axes: int) -> npt.NDArray[Any]:
    """The memory of a contiguous tensor as an array: its first axes, and one for the others.

    numpy lacks bfloat16, for example: such numbers become integers of their size.
    """
    if tensor.dtype not in _OF_NUMPY:
        tensor = tensor.view(_INTEGERS.get(tensor.itemsize, torch.uint8))
    memory: npt.NDArray[Any] = tensor.numpy()
    return memory.reshape(*tensor.shape[:axes], -1)


_OF_NUMPY = {torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8}
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _index(index: Ints, like: Tensor) -> Tensor:
    chosen = torch.from_numpy(index)
    return chosen if like.is_cpu else chosen.to(like.device)


def _in_format_of(tensor: Tensor, sliced: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return sliced
    for axes, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == axes and tensor.is_contiguous(memory_format=layout):
            return sliced.contiguous(memory_format=layout)
    return sliced
