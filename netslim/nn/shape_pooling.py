"""The shapes of operations that combine values of one channel: pooling and means. See `shape_rules`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["RULES"]


def _max_pooled(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The result of maximum pooling over the spatial axes of a batch [N, C, ...] without data.

    On the meta device torch checks the sizes with sympy, whose import takes 0.3 s.
    """
    if return_indices:
        return NotImplemented
    return _pooled(input, kernel_size, stride, padding, dilation, ceil_mode)


def _average_pooled(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    """The result of average pooling, likewise."""
    if divisor_override is not None:
        return NotImplemented
    return _pooled(input, kernel_size, stride, padding, 1, ceil_mode)


def _pooled(
    input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    shape, sizes = input.shape, []
    settings = (kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if not all(isinstance(value, int | list | tuple) for value in settings):
        return NotImplemented
    for axis, size in enumerate(shape[2:]):
        kernel, step, border, spread = (
            value if isinstance(value, int) else value[axis % len(value)] for value in settings
        )
        if min(kernel, step, spread) < 1 or not 0 <= 2 * border <= kernel:
            return NotImplemented
        reach = spread * (kernel - 1) + 1
        steps, rest = divmod(size + 2 * border - reach, step)
        # A last window that is not full counts only if it begins before the padding behind the input.
        steps += ceil_mode and rest > 0 and (steps + 1) * step < size + border
        if steps < 0:
            return NotImplemented
        sizes.append(steps + 1)
    return torch.empty((*shape[:2], *sizes), dtype=input.dtype, device="meta")


def _for_batches(pool: Callable[..., Any], axes: int) -> Callable[..., Any]:
    """The rule for batches without data; a single image has an axis less."""

    def rule(input: Tensor, *settings: Any, **others: Any) -> Any:
        if input.dim() != axes + 2 or not input.is_meta or not input.dtype.is_floating_point:
            return NotImplemented
        return pool(input, *settings, **others)

    return rule


def _reduced(input: Tensor, dim: Any = None, keepdim: bool = False, **others: Any) -> Any:
    """The result of a mean or a sum over some axes."""
    axes = (dim,) if type(dim) is int else dim
    if not input.is_meta or not input.dtype.is_floating_point or not axes or others:
        return NotImplemented
    count = input.dim()
    if not all(type(axis) is int and -count <= axis < count for axis in axes):
        return NotImplemented
    reduced = {axis % count for axis in axes}
    if len(reduced) < len(axes):
        return NotImplemented
    shape = [1 if axis in reduced else size for axis, size in enumerate(input.shape)]
    if not keepdim:
        shape = [size for axis, size in enumerate(shape) if axis not in reduced]
    return torch.empty(shape, dtype=input.dtype, device="meta")


RULES: dict[Any, Callable[..., Any]] = {
    F.max_pool1d: _for_batches(_max_pooled, 1),
    F.max_pool2d: _for_batches(_max_pooled, 2),
    F.max_pool3d: _for_batches(_max_pooled, 3),
    torch.max_pool1d: _for_batches(_max_pooled, 1),
    torch.max_pool2d: _for_batches(_max_pooled, 2),
    torch.max_pool3d: _for_batches(_max_pooled, 3),
    F.avg_pool1d: _for_batches(_average_pooled, 1),
    F.avg_pool2d: _for_batches(_average_pooled, 2),
    F.avg_pool3d: _for_batches(_average_pooled, 3),
    torch.mean: _reduced,
    Tensor.mean: _reduced,
    torch.sum: _reduced,
    Tensor.sum: _reduced,
}
"""The rules by function of torch."""
