"""Narrower copies of tensors: some entries of their first two axes, in the memory format they had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.pruning.plan import Edit, Ints, Keep

__all__ = ["Seen", "narrow", "narrow_grouped", "whole"]

Seen = Callable[[Tensor], Any]

_PART = 1 << 18
"""Bytes of a weight that are narrowed at once: what lies between its two axes stays in the cache."""


def narrow(tensor: Tensor, out: Keep | None, into: Keep | None = None, seen: Seen | None = None) -> Tensor:
    """A narrower copy: `out` of axis 0 and `into` of axis 1, None for all.

    Args:
        seen: where `into` is given, shown the entries of axis 0 that stay, with all of axis 1: in order, and
            some at a time, while they are in the cache.
    """
    if into is None:
        return whole(tensor) if out is None else _laid_out_like(tensor, _select(tensor, out.index))
    if tensor.is_cpu and tensor.is_contiguous():
        return _narrow_parts(tensor, out, into.index, seen)
    rows = tensor if out is None else _select(tensor, out.index)
    if seen is not None:
        seen(rows)
    return _laid_out_like(tensor, rows.index_select(1, _index(into.index, tensor)))


def narrow_grouped(tensor: Tensor, conv: _ConvNd, edit: Edit) -> Tensor:
    """The weight of a grouped convolution: each group keeps equally many, of its own choice.

    Axis 0 runs over all groups, axis 1 within one. In a transposed convolution axis 0 are the inputs.
    """
    all_out = Keep(conv.out_channels, np.arange(conv.out_channels))
    all_into = Keep(conv.in_channels, np.arange(conv.in_channels))
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


def whole(tensor: Tensor) -> Tensor:
    """A copy."""
    return tensor.clone(memory_format=torch.preserve_format)


def _narrow_parts(tensor: Tensor, out: Keep | None, into: Ints, seen: Seen | None) -> Tensor:
    """Both axes at once, some rows at a time."""
    count = tensor.shape[0] if out is None else out.index.size
    narrow = tensor.new_empty((count, into.size, *tensor.shape[2:]))
    wide, slim = _bytes(tensor, 2), _bytes(narrow, 2)
    rows = max(1, _PART // max(wide[0].size, 1))
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        part = wide[some] if out is None else wide.take(out.index[some], axis=0)
        if seen is not None:
            seen(torch.from_numpy(part).view(tensor.dtype))
        part.take(into, axis=1, out=slim[some], mode="clip")  # unlike "raise", not buffered
    return narrow


def _select(tensor: Tensor, index: Ints) -> Tensor:
    """Some entries of axis 0."""
    if tensor.dim() == 1 or not (tensor.is_cpu and tensor.is_contiguous()):
        return tensor.index_select(0, _index(index, tensor))
    narrow = tensor.new_empty((len(index), *tensor.shape[1:]))
    _bytes(tensor, 1).take(index, axis=0, out=_bytes(narrow, 1), mode="clip")
    return narrow


def _bytes(tensor: Tensor, axes: int) -> npt.NDArray[np.uint8]:
    """A contiguous tensor's own memory: its first axes, then bytes, for numpy does not know every type."""
    own: npt.NDArray[np.uint8] = tensor.flatten().view(torch.uint8).numpy()
    return own.reshape(*tensor.shape[:axes], -1)


def _index(index: Ints, like: Tensor) -> Tensor:
    chosen = torch.from_numpy(index)
    return chosen if like.is_cpu else chosen.to(like.device)


def _laid_out_like(tensor: Tensor, narrow: Tensor) -> Tensor:
    if tensor.is_contiguous():
        return narrow
    for axes, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == axes and tensor.is_contiguous(memory_format=layout):
            return narrow.contiguous(memory_format=layout)
    return narrow
