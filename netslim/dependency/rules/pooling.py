"""Rules for operations that combine neighbouring values of one channel: pooling, means, resizing, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import channels_of, make, shape_of, unknown

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register("max_pool1d", "max_pool2d", "max_pool3d", "interpolate", "upsample", keeps_offsets=True)
def _pool(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """A constant stays the same constant: maximum pooling pads with minus infinity, resizing does not pad."""
    out = shape_of(func, input, *args, **kwargs)
    channels = channels_of(input)
    if not isinstance(out, Tensor) or input.dim() not in (3, 4, 5) or not _vary_along_axis_1(channels):
        return unknown(func, input, *args, **kwargs)
    return make(input, channels, out.shape)


@RULES.register(
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    keeps_offsets=True,
)
def _adaptive_pool(func: Any, input: Any, output_size: Any, return_indices: bool = False) -> Any:
    channels, axes = channels_of(input), int(func.__name__[-2])
    if return_indices or input.dim() != axes + 2 or not _vary_along_axis_1(channels):
        return unknown(func, input, output_size, **({"return_indices": True} if return_indices else {}))
    sizes = output_size if isinstance(output_size, Sequence) else (output_size,) * axes
    spatial = [old if new is None else new for old, new in zip(input.shape[2:], sizes, strict=True)]
    return make(input, channels, (*input.shape[:2], *spatial))


@RULES.register("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _average_pool(
    func: Any,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    """A constant stays the same, except at the border if the mean includes the zeros of the padding."""
    args = (input, kernel_size, stride, padding, ceil_mode, count_include_pad)
    out = shape_of(func, *args)
    channels = channels_of(input)
    if channels is not None and (divisor_override or not _vary_along_axis_1(channels)):
        return unknown(func, *args)
    padded = any(padding) if isinstance(padding, Sequence) else bool(padding)
    if channels is not None and padded and count_include_pad:
        channels = channels.zero_padded()
    return make(input, channels, out.shape)


@RULES.register("pad", F.pad)
def _pad(func: Any, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """Padding of axes along which the channels do not vary: zeros, or values of the same channel."""
    channels = channels_of(input)
    shape = shape_of(func, input, pad, mode, value).shape
    if channels is None:
        return make(input, None, shape)
    padded = [input.dim() - 1 - number // 2 for number, width in enumerate(pad) if width]
    if value or any(channels.labels.shape[axis] > 1 for axis in padded):
        return unknown(func, input, pad, mode, value)
    return make(input, channels.zero_padded() if mode == "constant" else channels, shape)


def _vary_along_axis_1(channels: ChannelState | None) -> bool:
    """Whether channels vary along no other axis than 1, so that the spatial axes can be combined."""
    return channels is None or all(size == 1 for axis, size in enumerate(channels.labels.shape) if axis != 1)
