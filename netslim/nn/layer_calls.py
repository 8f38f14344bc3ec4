"""The one function of torch that a plain layer of torch.nn calls, and its arguments.

The trace and the run of shapes apply their rule for that function at once. Running `forward`, which calls the
function, which torch then hands back to the rule, takes twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from netslim.nn._torch import convolves_itself

__all__ = ["LayerCall", "layer_call"]

_Own = dict[str, Any]
"""The attributes of a layer."""


class LayerCall(NamedTuple):
    """What `forward` of a layer does with a tensor `x`: `function(x, *arguments(vars(layer)))`.

    Args:
        arguments: raises KeyError if the layer has no such parameter any more.
        axes: the numbers of axes that `x` may have, if `forward` checks them; else empty.
    """

    function: Callable[..., Any]
    arguments: Callable[[_Own], tuple[Any, ...]]
    axes: tuple[int, ...] = ()


def _convolution(own: _Own) -> tuple[Any, ...]:
    parameters = own["_parameters"]
    return (
        parameters["weight"],
        parameters["bias"],
        own["stride"],
        own["padding"],
        own["dilation"],
        own["groups"],
    )


def _linear(own: _Own) -> tuple[Any, ...]:
    parameters = own["_parameters"]
    return parameters["weight"], parameters["bias"]


def _batch_norm(own: _Own) -> tuple[Any, ...]:
    """The weight of the running mean is left out: it changes neither shapes nor dependencies."""
    parameters, buffers, training = own["_parameters"], own["_buffers"], own["training"]
    mean, variance = buffers["running_mean"], buffers["running_var"]
    if training and not own["track_running_stats"]:
        mean = variance = None
    return mean, variance, parameters["weight"], parameters["bias"], training or mean is variance is None


def _attributes(*names: str) -> Callable[[_Own], tuple[Any, ...]]:
    return lambda own: tuple([own[name] for name in names])


_MAX_POOL = _attributes("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_POOL = _attributes(
    "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"
)

_CALLS: dict[type[nn.Module], LayerCall] = {
    nn.Conv1d: LayerCall(torch.conv1d, _convolution),
    nn.Conv2d: LayerCall(torch.conv2d, _convolution),
    nn.Conv3d: LayerCall(torch.conv3d, _convolution),
    nn.Linear: LayerCall(F.linear, _linear),
    nn.BatchNorm1d: LayerCall(F.batch_norm, _batch_norm, (2, 3)),
    nn.BatchNorm2d: LayerCall(F.batch_norm, _batch_norm, (4,)),
    nn.BatchNorm3d: LayerCall(F.batch_norm, _batch_norm, (5,)),
    nn.ReLU: LayerCall(F.relu, _attributes("inplace")),
    nn.ReLU6: LayerCall(F.hardtanh, _attributes("min_val", "max_val", "inplace")),
    nn.Hardtanh: LayerCall(F.hardtanh, _attributes("min_val", "max_val", "inplace")),
    nn.LeakyReLU: LayerCall(F.leaky_relu, _attributes("negative_slope", "inplace")),
    nn.ELU: LayerCall(F.elu, _attributes("alpha", "inplace")),
    nn.SELU: LayerCall(F.selu, _attributes("inplace")),
    nn.CELU: LayerCall(F.celu, _attributes("alpha", "inplace")),
    nn.SiLU: LayerCall(F.silu, _attributes("inplace")),
    nn.Mish: LayerCall(F.mish, _attributes("inplace")),
    nn.Hardswish: LayerCall(F.hardswish, _attributes("inplace")),
    nn.Hardsigmoid: LayerCall(F.hardsigmoid, _attributes("inplace")),
    nn.Softplus: LayerCall(F.softplus, _attributes("beta", "threshold")),
    nn.Sigmoid: LayerCall(torch.sigmoid, _attributes()),
    nn.Tanh: LayerCall(torch.tanh, _attributes()),
    nn.MaxPool1d: LayerCall(F.max_pool1d, _MAX_POOL),
    nn.MaxPool2d: LayerCall(F.max_pool2d, _MAX_POOL),
    nn.MaxPool3d: LayerCall(F.max_pool3d, _MAX_POOL),
    nn.AvgPool2d: LayerCall(F.avg_pool2d, _AVERAGE_POOL),
    nn.AvgPool3d: LayerCall(F.avg_pool3d, _AVERAGE_POOL),
    nn.AdaptiveAvgPool1d: LayerCall(F.adaptive_avg_pool1d, _attributes("output_size")),
    nn.AdaptiveAvgPool2d: LayerCall(F.adaptive_avg_pool2d, _attributes("output_size")),
    nn.AdaptiveAvgPool3d: LayerCall(F.adaptive_avg_pool3d, _attributes("output_size")),
    nn.Dropout: LayerCall(F.dropout, _attributes("p", "training", "inplace")),
    nn.Dropout2d: LayerCall(F.dropout2d, _attributes("p", "training", "inplace")),
}


_TORCH_NN = str(Path(nn.__file__).parent)
_FORWARDS = {
    kind: kind.forward
    for kind in _CALLS
    if isinstance(kind.forward, FunctionType) and kind.forward.__code__.co_filename.startswith(_TORCH_NN)
}
"""The `forward` of each class, unless something else was put in its place before netslim was imported."""


def layer_call(layer: nn.Module, kind: type[nn.Module] | None = None) -> LayerCall | None:
    """The call that a layer makes; None if it may do something else.

    Only layers of torch.nn itself have one, not those of a class that is derived from them.

    Args:
        kind: the class whose `forward` is meant, by default that of the layer.
    """
    kind, own = kind or type(layer), vars(layer)
    call = _CALLS.get(kind)
    if call is None or "forward" in own or kind.forward is not _FORWARDS.get(kind):
        return None
    if isinstance(layer, _ConvNd) and (own["padding_mode"] != "zeros" or not convolves_itself(layer)):
        return None
    return None if own.get("return_indices") else call
