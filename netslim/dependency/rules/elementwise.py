"""Rules for what is done to each value alone, and for two tensors met value by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.tracer import Traced, channels_of, made, rule, shape_of, unknown

__all__: list[str] = []

Meeting = Callable[[Floats, Floats], Floats]


@rule(
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "selu_", "celu", "celu_"),
    *("gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh", "hardtanh_", "sigmoid", "sigmoid_"),
    *("logsigmoid", "tanh", "tanh_", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink"),
    *("threshold", "threshold_", "abs", "abs_", "neg", "neg_", "__neg__", "exp", "exp_", "expm1", "log1p"),
    *("sqrt", "sqrt_", "rsqrt", "square", "square_", "sin", "cos", "erf", "sign", "clamp", "clamp_", "clip"),
    *("clamp_min", "clamp_max", "clamp_min_", "nan_to_num", "reciprocal", "round", "floor", "ceil"),
)
def _each_value(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    """The function itself is asked what it makes of the constants."""
    if not isinstance(input, Traced) or any(isinstance(a, Tensor) for a in (*args, *kwargs.values())):
        return unknown(func, (input, *args), kwargs)
    channels = channels_of(input)
    if channels is None:
        return made(input, None)
    return made(input, channels.valued(lambda sent: func(sent, *args, **kwargs)))


@rule("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", linear=True, view=True)
@rule("contiguous", "detach", "data", "requires_grad_", linear=True, view=True)
@rule("clone", linear=True)
def _same(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    return made(input, channels_of(input))


@rule("float", "double", "half", "bfloat16", "to", "type_as", linear=True, view=True)
def _retyped(func: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    if not isinstance(input, Traced):
        return unknown(func, (input, *args), kwargs)
    return made(input, channels_of(input), dtype=shape_of(func, (input, *args), kwargs).dtype)


@rule("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "bernoulli")
def _alike(func: Any, input: Traced, *args: Any, **kwargs: Any) -> Traced:
    """A new tensor that is as wide as `input`, whatever that holds."""
    channels = channels_of(input)
    if channels is None:
        return made(input, None)
    value = {"zeros_like": 0.0, "ones_like": 1.0}.get(func.__name__, np.nan)
    sent = np.full(channels.labels.shape, value)
    return made(input, ChannelState(channels.labels, sent, sent))


@rule("add", "add_", "__add__", "__radd__", "__iadd__", linear=True)
def _add(func: Any, input: Any, other: Any, alpha: Any = 1) -> Any:
    if alpha != 1:
        return _subtract(func, input, other, alpha=-alpha)
    return _meet(np.add, input, other, linear=True)


@rule("sub", "sub_", "__sub__", "__isub__", "subtract")
def _subtract(func: Any, input: Any, other: Any, alpha: Any = 1) -> Any:
    return _meet(lambda a, b: a - alpha * b, input, other)


@rule("__rsub__", "rsub")
def _subtracted(func: Any, input: Any, other: Any) -> Any:
    return _meet(lambda a, b: b - a, input, other)


@rule("mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply")
def _multiply(func: Any, input: Any, other: Any) -> Any:
    """A 0 on either side makes 0, even if the other side is not known."""
    return _meet(lambda a, b: np.where((a == 0) | (b == 0), 0.0, a * b), input, other)


@rule("div", "div_", "__truediv__", "__itruediv__", "true_divide")
def _divide(func: Any, input: Any, other: Any, rounding_mode: Any = None) -> Any:
    divide = partial(torch.div, rounding_mode=rounding_mode)
    return _meet(_as_torch_does(divide), input, other)


@rule("maximum", "minimum", "pow", "__pow__")
def _other(func: Any, input: Any, other: Any) -> Any:
    return _meet(_as_torch_does(func), input, other)


@rule("expand_as")
def _expand_as(func: Any, input: Any, other: Any) -> Any:
    return _meet(lambda a, b: np.broadcast_to(a, (a + b).shape), input, other)


def _meet(function: Meeting, a: Any, b: Any, *, linear: bool = False) -> Any:
    """Two tensors, or a tensor and a number: what meets in one value is the same channel."""
    shapes = [tuple(value.shape) for value in (a, b) if isinstance(value, Tensor)]
    shape = np.broadcast_shapes(*shapes)
    like: Traced = a if isinstance(a, Traced) else b
    left, right = _aligned(a, len(shape)), _aligned(b, len(shape))
    if left is None and right is None:
        return made(like, None, shape)
    if left is None or right is None:
        known, other = (left, b) if right is None else (right, a)
        assert known is not None
        if _varies(other, known):
            return _refuse(like, shape, [known], "tensors of known and unknown channels meet")
        sent = np.full((1,) * len(shape), _number(other))
        left, right = (known, known.filled(sent)) if right is None else (known.filled(sent), known)
    elif left.labels.shape != right.labels.shape:
        return _refuse(like, shape, [left, right], "channels meet that lie along different axes")
    like.records.tie(left.labels, right.labels)
    with np.errstate(all="ignore"):  # what is infinite is so for the model as well
        masked = function(left.value_without_bias, right.value_without_bias)
        constant = function(left.value_with_bias, right.value_with_bias)
    terms = left.conv_sources + right.conv_sources if linear else ()
    return made(like, ChannelState(left.labels, masked, constant, left.exact and right.exact, terms), shape)


def _as_torch_does(function: Callable[[Tensor, Tensor], Tensor]) -> Meeting:
    # Copied: a broadcast array is not writable, and PyTorch warns of sharing one.
    return lambda a, b: function(torch.tensor(a), torch.tensor(b)).numpy()


def _aligned(value: Any, axes: int) -> ChannelState | None:
    """The channels of an operand, with as many axes as the result has."""
    channels = channels_of(value) if isinstance(value, Traced) else None
    if channels is None or channels.labels.ndim == axes:
        return channels
    lead = (1,) * (axes - channels.labels.ndim)
    return channels.moved(lambda array: array.reshape(lead + array.shape))


def _varies(other: Any, known: ChannelState) -> bool:
    """Whether an operand of unknown channels has different values for different known channels."""
    if not isinstance(other, Tensor):
        return False
    shape = (1,) * (known.labels.ndim - other.dim()) + tuple(other.shape)
    return any(
        size > 1 and other_size > 1 for size, other_size in zip(known.labels.shape, shape, strict=True)
    )


def _number(operand: Any) -> float:
    """The operand's one value, or NaN if it is not known now or not one."""
    if isinstance(operand, Traced):
        operand = operand.records.values.get(operand.source)
    if isinstance(operand, Tensor):
        return float(operand) if operand.numel() == 1 and not operand.is_meta else np.nan
    return np.nan if operand is None else float(operand)


def _refuse(like: Traced, shape: Any, met: list[ChannelState], reason: str) -> Traced:
    told = f"{reason} at {like.records.source_line()}"
    for channels in met:
        like.records.mark_unprunable(channels.labels, told)
    return made(like, None, shape, why=told)
