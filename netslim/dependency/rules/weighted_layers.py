"""Rules for convolution and linear layers, which mix their input channels or filter each of them."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn
from torch.nn.modules.conv import _ConvNd

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.layer_records import KernelGeometry, WeightedLayer
from netslim.dependency.records import IN, OUT, TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import (
    are_parameters,
    inputs_along,
    outputs_along,
    shape_of,
    source_of,
    unknown,
)
from netslim.dependency.rules.depthwise import filter_each_input, filtered
from netslim.dependency.rules.kernel_geometry import kernel_geometry
from netslim.dependency.symbolic_size import ChannelCount, plain
from netslim.dependency.tracer import TracedTensor
from netslim.nn._torch import FORWARD_CODE_OF_LAYERS
from netslim.nn.own_rules import inside_own_rule

__all__ = ["RULES"]

RULES = RuleSet()

_MOST_FRAMES = 10
"""How far above a rule that code can be: the rule, the dispatch, and torch's own frames lie between."""


@RULES.register("conv1d", "conv2d", "conv3d", accepts_counts=True)
def _convolution(
    func: Any,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if not _is_layer(input, weight, bias, groups) or input.dim() != weight.dim():
        return unknown(func, input, weight, bias, stride, padding, dilation, groups)
    geometry = kernel_geometry(
        weight.shape[2:], input.shape[2:], None, stride=stride, padding=padding, dilation=dilation
    )
    return _convolve(input, weight, bias, weight.shape[0], groups, geometry, transposed=False)


@RULES.register("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", accepts_counts=True)
def _transposed_convolution(
    func: Any,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    arguments = (input, weight, bias, stride, padding, output_padding, groups, dilation)
    if not _is_layer(input, weight, bias, groups, transposed=True) or input.dim() != weight.dim():
        return unknown(func, *arguments)
    shape = shape_of(func, *arguments).shape
    geometry = kernel_geometry(
        weight.shape[2:], input.shape[2:], shape[2:], stride=stride, padding=padding, dilation=dilation
    )
    return _convolve(input, weight, bias, shape[1], groups, geometry, transposed=True)


@RULES.register("linear")
def _linear(func: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    if not _is_layer(input, weight, bias) or weight.dim() != 2:
        return unknown(func, input, weight, bias)
    records, axis, width = input.records, input.dim() - 1, weight.shape[0]
    module, standard = _owner(records, weight, nn.Linear)
    layer = WeightedLayer(
        weight=weight.source,
        bias=source_of(bias),
        module=module,
        standard=standard,
        inputs=inputs_along(input, axis),
        outputs=records.axis_labels(weight.source, OUT, width),
    )
    _mix_inputs(records, layer)
    outputs = ChannelState.without_values(layer.outputs, conv_sources=(layer.outputs,))
    return outputs_along(input, (*input.shape[:-1], width), axis, outputs, bias)


def _is_layer(input: Any, weight: Any, bias: Any, groups: int = 1, *, transposed: bool = False) -> bool:
    """Whether parameters of the model are applied to one of its tensors, and always in the same way."""
    if not isinstance(input, TracedTensor) or not are_parameters(weight, bias):
        return False
    before = input.records.weighted_layers.get(weight.source)
    return before is None or (before.transposed == transposed and before.groups == plain(groups))


def _convolve(
    input: TracedTensor,
    weight: TracedTensor,
    bias: TracedTensor | None,
    width: int,
    given_groups: int,
    geometry: KernelGeometry,
    *,
    transposed: bool,
) -> TracedTensor:
    """The outputs of a convolution with `width` output channels."""
    records, groups = input.records, plain(given_groups)
    module, standard = _owner(records, weight, _ConvNd)
    layer = WeightedLayer(
        weight=weight.source,
        bias=source_of(bias),
        module=module,
        standard=standard,
        inputs=inputs_along(input, 1),
        outputs=records.axis_labels(weight.source, OUT, width),
        groups=groups,
        geometry=geometry,
        transposed=transposed,
        depthwise=1 < groups == input.shape[1],
    )
    shape = (input.shape[0], width, *geometry.output_size)
    if layer.depthwise:
        filter_each_input(records, layer, given_groups)
        return outputs_along(input, shape, 1, filtered(records, layer), bias)
    if isinstance(given_groups, (ChannelCount, AttributeSize)):
        given_groups.mark_unprunable()
    if groups > 1:
        records.require_equal_blocks(layer.inputs.labels.reshape(groups, -1))
        records.require_equal_blocks(layer.outputs.reshape(groups, -1))
    _mix_inputs(records, layer)
    outputs = ChannelState.without_values(layer.outputs, conv_sources=(layer.outputs,))
    return outputs_along(input, shape, 1, outputs, bias)


def _owner(records: TraceRecords, weight: TracedTensor, kind: type[nn.Module]) -> tuple[str, bool]:
    """The layer that owns a weight, "" for none; and whether it runs now, as a module of torch.nn.

    A function that is called with the weight of a layer does not use a bias that the layer gets later.
    """
    module, standard = records.owning_module(weight.source, kind)
    return module, standard and not inside_own_rule() and _running_layer(records) == module


def _running_layer(records: TraceRecords) -> str:
    """The path of the layer of torch.nn whose forward calls the rule; "" for none."""
    if records.running_layer is not None:
        return records.running_layer
    frame = inspect.currentframe()
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if frame.f_code in FORWARD_CODE_OF_LAYERS:
            return records.paths.get(id(frame.f_locals["self"]), "")
        frame = frame.f_back
    return ""


def _mix_inputs(records: TraceRecords, layer: WeightedLayer) -> None:
    """Every output depends on every input of its group, so a removed input must have been a constant."""
    inputs = layer.inputs
    records.tie_axis(layer.weight, IN, inputs.labels)
    _keep_inputs_that_cannot_be_replaced(records, layer)
    first = records.weighted_layers.setdefault(layer.weight, layer)
    if first is not layer and not records.second_mode:
        records.weighted_layers[layer.weight] = _used_again(records, first, layer)


def _keep_inputs_that_cannot_be_replaced(records: TraceRecords, layer: WeightedLayer) -> None:
    """Inputs must stay if they are no constant once removed, or one that no bias can replace exactly."""
    labels, values = layer.inputs.labels, layer.inputs.value_without_bias
    if not np.count_nonzero(values):  # NaN counts
        return
    not_constant = np.isnan(values)
    records.mark_unprunable(labels[not_constant], f"{layer.name} reads them as they are")
    if layer.has_border_effects or not (layer.bias or layer.standard):
        reason = f"{layer.name} reads them activated to something else than 0"
        records.mark_unprunable(labels[~not_constant & (values != 0)], reason)


def _used_again(records: TraceRecords, first: WeightedLayer, layer: WeightedLayer) -> WeightedLayer:
    """The record of a layer that is called again.

    Its one bias replaces the removed inputs of both calls, so they must have the same constants. If one of
    the calls does not use the bias, there is none that could.
    """
    before, now = first.inputs, layer.inputs
    standard = first.standard and layer.standard
    bias = first.bias if first.bias == layer.bias else ""
    if not bias and first.bias + layer.bias:
        standard = False
    if not (bias or standard):
        constant = (now.value_without_bias != 0) | (before.value_without_bias != 0)
        records.mark_unprunable(
            now.labels[constant], f"{layer.name} reads them, and its calls have no bias in common"
        )
    differ = before.value_without_bias != now.value_without_bias
    records.mark_unprunable(now.labels[differ], f"{layer.name} is used twice, differently")
    same = before.value_with_bias == now.value_with_bias
    inputs = replace(
        before,
        value_with_bias=np.where(same, now.value_with_bias, np.nan),
        exact=before.exact and now.exact and first.geometry == layer.geometry,
    )
    return replace(first, inputs=inputs, bias=bias, standard=standard)
