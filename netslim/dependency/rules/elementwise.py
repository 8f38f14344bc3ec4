"""Rules for functions of each value alone, and for two tensors that are combined value by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import (
    are_parameters,
    channels_of,
    inputs_along,
    make,
    outputs_along,
    unknown,
)
from netslim.dependency.tracer import TracedTensor, require_own_corrections

__all__ = ["RULES"]

RULES = RuleSet()

BinaryFunction = Callable[[Floats, Floats], Floats]


@RULES.register(
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "selu_", "celu", "celu_"),
    *("gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "hardtanh_", "sigmoid", "sigmoid_"),
    *("logsigmoid", "tanh", "tanh_", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink"),
    *("threshold", "threshold_", "abs", "abs_", "neg", "neg_", "__neg__", "exp", "exp_", "expm1", "log1p"),
    *("sqrt", "sqrt_", "rsqrt", "square", "square_", "sin", "cos", "erf", "sign", "clamp", "clamp_", "clip"),
    *("clamp_min", "clamp_max", "clamp_min_", "nan_to_num", "reciprocal", "round", "floor", "ceil"),
)
def _each_value(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """The channels stay; the function itself gives the new constants."""
    if not isinstance(input, TracedTensor) or any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
        return unknown(func, input, *args, **kwargs)
    channels = channels_of(input)
    if channels is None:
        return make(input, None)
    if func in _RELU:
        values = np.maximum(channels.value_without_bias, 0.0), np.maximum(channels.value_with_bias, 0.0)
        return make(input, ChannelState(channels.labels, *values, channels.exact))
    return make(
        input, channels.mapped(lambda values: func(torch.from_numpy(values), *args, **kwargs).numpy())
    )


_RELU = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
"""Far more frequent than others, and numpy is faster. NaN stays NaN."""


@RULES.register("prelu")
def _prelu(func: Any, input: Any, weight: Any) -> Any:
    """`weight` has one slope for all channels, or one for each channel, which is removed with it."""
    if not isinstance(input, TracedTensor) or not are_parameters(weight):
        return unknown(func, input, weight)
    channels = channels_of(input)
    if channels is None:
        return make(input, None)
    slopes = input.records.values_of(weight.source)
    if slopes.size == 1:
        return make(input, _leaky(channels, slopes.ravel()[0]))
    channels = inputs_along(input, 1)
    input.records.tie_axis(weight.source, 0, channels.labels)
    return outputs_along(input, input.shape, 1, _leaky(channels, slopes))


def _leaky(channels: ChannelState, slopes: Floats | float) -> ChannelState:
    """The channels after multiplying their negative values by `slopes`."""
    without_bias, with_bias = (
        np.where(values < 0, slopes * values, values)
        for values in (channels.value_without_bias, channels.value_with_bias)
    )
    return ChannelState(channels.labels, without_bias, with_bias, channels.exact)


@RULES.register(
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "dropout_", "feature_dropout_"),
    keeps_offsets=True,
    returns_view=True,
    any_mode=True,
)
@RULES.register("contiguous", "detach", "data", "requires_grad_", keeps_offsets=True, returns_view=True)
@RULES.register("clone", keeps_offsets=True)
def _same(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    return make(input, channels_of(input))


@RULES.register(
    *("float", "double", "half", "bfloat16", "to", "type_as", "cpu", "cuda"),
    keeps_offsets=True,
    returns_view=True,
)
def _convert(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(input, TracedTensor):
        return unknown(func, input, *args, **kwargs)
    dtype = input.dtype
    if func.__name__ != "cuda":  # it may be missing here
        empty = {name: _without_values(value) for name, value in kwargs.items()}
        dtype = func(*map(_without_values, (input, *args)), **empty).dtype
    return make(input, channels_of(input), dtype=dtype)


def _without_values(value: Any) -> Any:
    return torch.empty(0, dtype=value.dtype) if isinstance(value, Tensor) else value


@RULES.register("add", "add_", "__add__", "__radd__", "__iadd__", keeps_offsets=True)
def _add(func: Any, input: Any, other: Any, alpha: Any = 1) -> Any:
    if alpha != 1:  # an offset of `other` is added `alpha` times
        require_own_corrections(value for value in (input, other) if isinstance(value, TracedTensor))
        return _subtract(func, input, other, alpha=-alpha)
    return _combine(np.add, input, other, keeps_offsets=True)


@RULES.register("sub", "sub_", "__sub__", "__isub__", "subtract")
def _subtract(func: Any, input: Any, other: Any, alpha: Any = 1) -> Any:
    return _combine(lambda a, b: a - alpha * b, input, other)


@RULES.register("__rsub__", "rsub")
def _subtract_from(func: Any, input: Any, other: Any) -> Any:
    return _combine(lambda a, b: b - a, input, other)


@RULES.register("mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply")
def _multiply(func: Any, input: Any, other: Any) -> Any:
    """The product with a constant 0 is 0, also if the other factor is not known."""
    return _combine(lambda a, b: np.where((a == 0) | (b == 0), 0.0, a * b), input, other)


@RULES.register("div", "div_", "__truediv__", "__itruediv__", "true_divide")
def _divide(func: Any, input: Any, other: Any, rounding_mode: Any = None) -> Any:
    return _combine(_on_arrays(partial(torch.div, rounding_mode=rounding_mode)), input, other)


@RULES.register("maximum", "minimum", "pow", "__pow__")
def _other_function(func: Any, input: Any, other: Any) -> Any:
    return _combine(_on_arrays(func), input, other)


@RULES.register("expand_as")
def _expand_as(func: Any, input: Any, other: Any) -> Any:
    return _combine(lambda a, b: np.broadcast_to(a, (a + b).shape), input, other)


def _combine(function: BinaryFunction, a: Any, b: Any, *, keeps_offsets: bool = False) -> Any:
    """Two tensors, or a tensor and a number: channels that meet in one value are the same channel.

    Args:
        function: gives the constants of the result from those of the operands.
        keeps_offsets: it adds, so the convolution outputs in both operands are terms of the result.
    """
    shape = np.broadcast_shapes(*(tuple(value.shape) for value in (a, b) if isinstance(value, Tensor)))
    like: TracedTensor = a if isinstance(a, TracedTensor) else b
    left, right = _with_axes(a, len(shape)), _with_axes(b, len(shape))
    if left is None and right is None:
        return make(like, None, shape)
    if left is None or right is None:
        known, other = (left, b) if right is None else (right, a)
        assert known is not None
        if _varies_across(other, known):
            return _refuse(like, shape, [known], "tensors of known and unknown channels meet")
        number = known.filled(np.full((1,) * len(shape), _number(other)))
        left, right = (known, number) if right is None else (number, known)
        labels = known.labels
    elif left.labels.shape != right.labels.shape:
        return _refuse(like, shape, [left, right], "channels meet that lie along different axes")
    else:
        labels = left.labels
        like.records.tie(left.labels, right.labels)
    with np.errstate(all="ignore"):  # the model computes the same infinite values
        without_bias = function(left.value_without_bias, right.value_without_bias)
        with_bias = function(left.value_with_bias, right.value_with_bias)
    sources = left.conv_sources + right.conv_sources if keeps_offsets else ()
    exact = left.exact and right.exact
    return make(like, ChannelState(labels, without_bias, with_bias, exact, sources), shape)


def _on_arrays(function: Callable[[Tensor, Tensor], Tensor]) -> BinaryFunction:
    """A function of torch for arrays. They are copied: torch warns of arrays that it must not write to."""
    return lambda a, b: function(torch.tensor(a), torch.tensor(b)).numpy()


def _with_axes(value: Any, axes: int) -> ChannelState | None:
    """The channels of an operand, with as many axes as the result has."""
    channels = channels_of(value) if isinstance(value, TracedTensor) else None
    if channels is None or channels.labels.ndim == axes:
        return channels
    leading = (1,) * (axes - channels.labels.ndim)
    return channels.rearranged(lambda array: array.reshape(leading + array.shape))


def _varies_across(other: Any, known: ChannelState) -> bool:
    """Whether an operand of unknown channels has different values for different known channels."""
    if not isinstance(other, Tensor):
        return False
    shape = (1,) * (known.labels.ndim - other.dim()) + tuple(other.shape)
    return any(
        size > 1 and other_size > 1 for size, other_size in zip(known.labels.shape, shape, strict=True)
    )


def _number(operand: Any) -> float:
    """The one value of an operand; NaN if it has several, or one that is not known during the trace."""
    if isinstance(operand, TracedTensor):
        operand = operand.records.values.get(operand.source)
    if isinstance(operand, Tensor):
        return float(operand) if operand.numel() == 1 and not operand.is_meta else np.nan
    return np.nan if operand is None else float(operand)


def _refuse(like: TracedTensor, shape: Any, operands: list[ChannelState], reason: str) -> TracedTensor:
    """The channels of the operands must stay, and nothing is known of the result."""
    why = f"{reason} at {like.records.source_line()}"
    for channels in operands:
        like.records.mark_unprunable(channels.labels, why)
    return make(like, None, shape, why=why)
