"""Narrower copies of tensors: some entries of their first two axes, in the memory format they had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.pruning.plan import ChannelIndex, Ints, LayerEdit

__all__ = ["Seen", "copy_tensor", "slice_grouped_weight", "slice_weight"]

Seen = Callable[[Tensor], Any]

_PART = 1 << 18
"""Bytes of a weight that are narrowed at once: what lies between its two axes stays in the cache."""


def slice_weight(
    tensor: Tensor, out: ChannelIndex | None, into: ChannelIndex | None = None, seen: Seen | None = None
) -> Tensor:
    """A narrower copy: `out` of axis 0 and `into` of axis 1, None for all.

    Args:
        seen: where `into` is given, shown the entries of axis 0 that stay, with all of axis 1: in order, and
            some at a time, while they are in the cache.
    """
    if into is None:
        return copy_tensor(tensor) if out is None else _laid_out_like(tensor, _select(tensor, out.index))
    if tensor.is_cpu and tensor.is_contiguous():
        return _narrow_parts(tensor, out, into.index, seen)
    rows = tensor if out is None else _select(tensor, out.index)
    if seen is not None:
        seen(rows)
    return _laid_out_like(tensor, rows.index_select(1, _index(into.index, tensor)))


def slice_grouped_weight(tensor: Tensor, conv: _ConvNd, edit: LayerEdit) -> Tensor:
    """The weight of a grouped convolution: each group keeps equally many, of its own choice.

    Axis 0 runs over all groups, axis 1 within one. In a transposed convolution axis 0 are the inputs.
    """
    all_out = ChannelIndex(conv.out_channels, np.arange(conv.out_channels))
    all_into = ChannelIndex(conv.in_channels, np.arange(conv.in_channels))
    first, second = edit.out or all_out, edit.into or all_into
    if isinstance(conv, _ConvTransposeNd):
        first, second = second, first
    outer, (_, wide, *kernel) = first.index, tensor.shape
    if conv.groups == conv.in_channels or second.index.size == second.of:  # depthwise: whole groups go
        return _laid_out_like(tensor, _select(tensor, outer))
    within = second.index.reshape(conv.groups, -1) % wide
    rows = within[outer // (first.of // conv.groups)]
    kernels = _select(tensor.reshape(-1, *kernel), (outer[:, None] * wide + rows).ravel())
    return _laid_out_like(tensor, kernels.reshape(len(outer), -1, *kernel))


def copy_tensor(tensor: Tensor) -> Tensor:
    """A copy."""
    return tensor.clone(memory_format=torch.preserve_format)


def _narrow_parts(tensor: Tensor, out: ChannelIndex | None, into: Ints, seen: Seen | None) -> Tensor:
    """Both axes at once, some rows at a time."""
    count = tensor.shape[0] if out is None else out.index.size
    slice_weight = tensor.new_empty((count, into.size, *tensor.shape[2:]))
    wide, slim = _bytes(tensor, 2), _bytes(slice_weight, 2)
    rows = max(1, _PART // max(wide[0].size, 1))
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        part = wide[some] if out is None else wide.take(out.index[some], axis=0)
        if seen is not None:
            seen(torch.from_numpy(part).view(tensor.dtype))
        part.take(into, axis=1, out=slim[some], mode="clip")  # unlike "raise", not buffered
    return slice_weight


def _select(tensor: Tensor, index: Ints) -> Tensor:
    """Some entries of axis 0."""
    if tensor.dim() == 1 or not (tensor.is_cpu and tensor.is_contiguous()):
        return tensor.index_select(0, _index(index, tensor))
    slice_weight = tensor.new_empty((len(index), *tensor.shape[1:]))
    _bytes(tensor, 1).take(index, axis=0, out=_bytes(slice_weight, 1), mode="clip")
    return slice_weight


def _bytes(tensor: Tensor, axes: int) -> npt.NDArray[np.uint8]:
    """A contiguous tensor's own memory: its first axes, then bytes, for numpy does not know every type."""
    own: npt.NDArray[np.uint8] = tensor.flatten().view(torch.uint8).numpy()
    return own.reshape(*tensor.shape[:axes], -1)


def _index(index: Ints, like: Tensor) -> Tensor:
    chosen = torch.from_numpy(index)
    return chosen if like.is_cpu else chosen.to(like.device)


def _laid_out_like(tensor: Tensor, slim: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return slim
    for axes, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == axes and tensor.is_contiguous(memory_format=layout):
            return slim.contiguous(memory_format=layout)
    return slim
