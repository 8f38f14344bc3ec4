"""Rules for operations that mix what lies side by side in one channel: pooling, means, resizing, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.tracer import Traced, channels_of, made, rule, shape_of, unknown

__all__: list[str] = []


@rule("max_pool1d", "max_pool2d", "max_pool3d", linear=True)
@rule("interpolate", "upsample", linear=True)
def _pool(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """A constant stays the same constant: maximum pooling never sees the border it pads."""
    out = shape_of(func, (input, *args), kwargs)
    spatial = {3: 1, 4: 2, 5: 3}.get(input.dim(), 0)
    channels = channels_of(input)
    if not isinstance(out, Tensor) or not spatial or (channels and not _keeps(channels, input)):
        return unknown(func, (input, *args), kwargs)
    return made(input, channels, out.shape)


@rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", linear=True)
@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", linear=True)
def _adaptive_pool(func: Any, input: Any, output_size: Any, return_indices: bool = False) -> Any:
    channels, axes = channels_of(input), int(func.__name__[-2])
    if return_indices or input.dim() != axes + 2 or (channels and not _keeps(channels, input)):
        return unknown(func, (input, output_size), {"return_indices": True} if return_indices else {})
    sizes = output_size if isinstance(output_size, Sequence) else (output_size,) * axes
    wanted = zip(input.shape[2:], sizes, strict=True)
    return made(input, channels, (*input.shape[:2], *(had if size is None else size for had, size in wanted)))


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _average(
    func: Any,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    """The zeros it pads count, unless it is told not to count them."""
    args = (input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    out = shape_of(func, args, {})
    channels = channels_of(input)
    if channels and (divisor_override or not _keeps(channels, input)):
        return unknown(func, args, {})
    padded = any(padding) if isinstance(padding, Sequence) else bool(padding)
    if channels and padded and count_include_pad:
        input.records.uncompensated_sources.extend(channels.conv_sources)
        channels = channels.padded()
    return made(input, channels, out.shape)


@rule("mean", "amax", "amin", "sum", "std", "var")
def _reduce(func: Any, input: Any, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    channels = channels_of(input)
    out = shape_of(func, (input, dim, keepdim), kwargs) if dim is not None else None
    if channels is None:
        return unknown(func, (input,) if dim is None else (input, dim, keepdim), kwargs)
    dims = dim if isinstance(dim, Sequence) else (dim,)
    if out is None or any(channels.labels.shape[d] > 1 for d in dims):
        return unknown(func, (input,) if dim is None else (input, dim, keepdim), kwargs)
    gone = tuple(d % input.dim() for d in dims)
    if func.__name__ in ("sum", "std", "var"):  # 0 of them is 0; of another constant it depends on the size
        masked, constant = (
            np.where(sent == 0, 0.0, np.nan)
            for sent in (channels.value_without_bias, channels.value_with_bias)
        )
        channels = ChannelState(channels.labels, masked, constant, channels.exact)
    kept = channels if keepdim else channels.moved(lambda array: np.squeeze(array, gone))
    return made(input, kept, out.shape)


@rule("pad", F.pad)
def _pad(func: Any, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    channels = channels_of(input)
    out = shape_of(func, (input, pad, mode, value), {})
    if channels is None:
        return made(input, None, out.shape)
    touched = [input.dim() - 1 - n // 2 for n, width in enumerate(pad) if width]
    if value or any(channels.labels.shape[axis] > 1 for axis in touched):
        return unknown(func, (input, pad, mode, value), {})
    return made(input, channels.padded() if mode == "constant" else channels, out.shape)


def _keeps(channels: ChannelState, input: Traced) -> bool:
    """The channels lie in axis 1 of a batch, so that what is done to the axes behind it leaves them apart."""
    return all(size == 1 for axis, size in enumerate(channels.labels.shape) if axis != 1)
