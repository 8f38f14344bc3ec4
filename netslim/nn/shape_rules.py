"""The shapes of operations: what an operation of torch gives for tensors without data, and when it fails.

A rule is called as the operation is. It returns NotImplemented for an unusual call, or a wrong one: torch
then computes the shape, or raises its own error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netslim.nn.layer_calls import layer_call
from netslim.nn.shape_pooling import RULES as POOLING

__all__ = ["RULES", "layer_rule", "without_data"]

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = dict(POOLING)
"""The rules by function of torch."""


def _rule(*functions: Any) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, rule))
        return rule

    return add


def _check_operands(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """The meta device accepts any dtypes and biases. (Under autocast, this error is no proof.)"""
    if input.dtype is not weight.dtype:
        raise RuntimeError(f"the input is {input.dtype}, the weight {weight.dtype}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"the bias has {bias.numel()} values, the weight {weight.shape[0]} outputs")


@_rule(torch.conv1d, torch.conv2d, torch.conv3d)
def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    _check_operands(input, weight, bias)
    shape, kernel = input.shape, weight.shape
    axes = len(kernel) - 2
    if (
        len(shape) != axes + 2
        or shape[1] != kernel[1] * groups
        or kernel[0] % groups
        or isinstance(padding, str)
    ):
        return NotImplemented
    sizes = []
    for axis in range(axes):
        step, border, spread = (
            v if type(v) is int else v[axis % len(v)] for v in (stride, padding, dilation)
        )
        size = (shape[axis + 2] + 2 * border - spread * (kernel[axis + 2] - 1) - 1) // step + 1
        if size < 1:
            return NotImplemented
        sizes.append(size)
    return torch.empty((shape[0], kernel[0], *sizes), dtype=input.dtype, device="meta")


@_rule(F.linear)
def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    shape, kernel = input.shape, weight.shape
    _check_operands(input, weight, bias)
    if len(kernel) != 2 or shape[-1] != kernel[1]:
        return NotImplemented
    return torch.empty((*shape[:-1], kernel[0]), dtype=input.dtype, device="meta")


@_rule(F.batch_norm)
def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *settings: Any,
    **others: Any,
) -> Any:
    width = input.shape[1:2]
    for vector in (running_mean, running_var, weight, bias):
        if vector is not None and vector.shape != width:
            return NotImplemented
    return without_data(input)


_SAME_SHAPE = (
    *(F.relu, F.relu6, F.silu, F.gelu, F.elu, F.selu, F.celu, F.mish, F.leaky_relu, F.hardtanh),
    *(F.hardswish, F.hardsigmoid, F.sigmoid, F.tanh, F.softplus, F.logsigmoid, F.softsign),
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(torch.relu, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh),
    *(Tensor.contiguous, Tensor.clone, Tensor.detach, Tensor.cpu, Tensor.cuda),
)


@_rule(*_SAME_SHAPE)
def _same_shape(input: Tensor, *settings: Any, **others: Any) -> Any:
    return without_data(input) if input.is_meta and input.dtype.is_floating_point else NotImplemented


_BROADCAST = (
    *(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum),
    *(Tensor.add, Tensor.sub, Tensor.mul, Tensor.div, Tensor.add_, Tensor.sub_, Tensor.mul_, Tensor.div_),
    *(Tensor.__add__, Tensor.__sub__, Tensor.__mul__, Tensor.__truediv__, Tensor.__radd__, Tensor.__rmul__),
    *(Tensor.__iadd__, Tensor.__isub__, Tensor.__imul__, Tensor.__itruediv__),
)


@_rule(*_BROADCAST)
def _broadcast(a: Any, b: Any, **settings: Any) -> Any:
    """Two tensors of one dtype and as many axes, or a tensor and a number."""
    if not isinstance(a, Tensor) or not a.is_meta or not a.dtype.is_floating_point or settings:
        return NotImplemented
    shape = a.shape
    if type(b) not in (int, float):
        if not isinstance(b, Tensor) or a.dtype is not b.dtype or a.dim() != b.dim():
            return NotImplemented
        if shape != b.shape:
            if any(m != n and m != 1 and n != 1 for m, n in zip(shape, b.shape, strict=True)):
                return NotImplemented
            shape = torch.Size([n if m == 1 else m for m, n in zip(shape, b.shape, strict=True)])
    return torch.empty(shape, dtype=a.dtype, device="meta")


@_rule(torch.cat, torch.concat)
def _cat(tensors: Any, dim: int = 0) -> Any:
    if type(tensors) not in (list, tuple) or not all(isinstance(tensor, Tensor) for tensor in tensors):
        return NotImplemented
    first, shape = tensors[0], list(tensors[0].shape)
    if dim not in range(-len(shape), len(shape)) or not any(tensor.is_meta for tensor in tensors):
        return NotImplemented
    for tensor in tensors[1:]:
        other = list(tensor.shape)
        if len(other) != len(shape) or tensor.dtype is not first.dtype:
            return NotImplemented
        size = shape[dim] + other[dim]
        shape[dim] = other[dim]
        if shape != other:
            return NotImplemented
        shape[dim] = size
    return torch.empty(shape, dtype=first.dtype, device="meta")


_MOVES = (
    *(Tensor.view, Tensor.reshape, Tensor.flatten, Tensor.permute, Tensor.transpose, Tensor.squeeze),
    *(Tensor.unsqueeze, Tensor.chunk, Tensor.split, torch.reshape, torch.flatten, torch.permute),
    *(torch.transpose, torch.squeeze, torch.unsqueeze, torch.chunk, torch.split),
)


def _moved(function: Callable[..., Any]) -> Rule:
    """Views of one tensor: the meta device is fast for them."""

    def rule(input: Tensor, *settings: Any, **others: Any) -> Any:
        return function(input, *settings, **others) if input.is_meta else NotImplemented

    return rule


RULES.update({function: _moved(function) for function in _MOVES})


@_rule(F.adaptive_avg_pool2d)
def _adaptive_pool(input: Tensor, output_size: Any) -> Any:
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if input.dim() != 4 or not input.is_meta or len(sizes) != 2 or None in sizes:
        return NotImplemented
    return torch.empty((*input.shape[:2], *sizes), dtype=input.dtype, device="meta")


@_rule(Tensor.to, Tensor.type_as)
def _to(input: Tensor, *arguments: Any, **keywords: Any) -> Any:
    if not input.is_meta:
        return NotImplemented
    dtype = input.dtype
    for value in (*arguments, *keywords.values()):
        if isinstance(value, torch.dtype | Tensor):
            dtype = value if isinstance(value, torch.dtype) else value.dtype
    return torch.empty(input.shape, dtype=dtype, device="meta")


def layer_rule(layer: nn.Module, kind: type[nn.Module] | None = None) -> Rule | None:
    """The rule of a layer as a whole, called with its input; None if it has none. See `layer_call`."""
    call, own = layer_call(layer, kind), vars(layer)
    if call is None or call.function not in RULES:
        return None
    rule, arguments, axes = RULES[call.function], call.arguments, call.axes

    def rule_of_layer(input: Tensor) -> Any:
        if axes and input.dim() not in axes:
            return NotImplemented
        return rule(input, *arguments(own))

    return rule_of_layer


def without_data(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
