"""Depthwise convolutions: each output is a filter of one input, so both are one channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.layer_records import WeightedLayer
from netslim.dependency.records import IN, TraceRecords
from netslim.dependency.symbolic_size import ChannelCount, ParameterCount

__all__ = ["filter_each_input", "filtered"]


def filter_each_input(records: TraceRecords, layer: WeightedLayer, groups: Any) -> None:
    """A depthwise convolution: input c gives the outputs c * m to c * m + m - 1, so they are one channel."""
    labels = layer.inputs.labels
    records.tie_axis(layer.weight, IN, labels)
    records.tie(np.repeat(labels, layer.outputs.size // labels.size), layer.outputs)
    records.depthwise_inputs.append(labels)
    records.weighted_layers.setdefault(layer.weight, layer)
    of_layer = isinstance(groups, ParameterCount) and groups.module == layer.module
    of_input = isinstance(groups, ChannelCount) and not isinstance(groups, ParameterCount)
    if not of_layer and not (of_input and groups.follows(labels)):  # it is a constant in the model's code
        reason = f"a depthwise convolution is called as a function at {records.source_line()}"
        records.mark_unprunable(labels, reason)


def _kernel_sums(weight: Tensor, outputs: int) -> Floats:
    """float64[outputs], the sum of the kernel that gives each output."""
    sums: Floats = weight.detach().to("cpu", torch.float64).reshape(outputs, -1).numpy().sum(axis=1)
    return sums


def filtered(records: TraceRecords, layer: WeightedLayer) -> ChannelState:
    """The outputs of a depthwise convolution for constant inputs: exact for 0, or without padding."""
    inputs, times, exact = layer.inputs, layer.outputs.size // layer.inputs.labels.size, layer.inputs.exact
    without_bias, with_bias = inputs.value_without_bias.repeat(times), inputs.value_with_bias.repeat(times)
    if np.count_nonzero(without_bias) or np.count_nonzero(with_bias):
        if layer.has_border_effects:
            without_bias = np.where(without_bias == 0, 0.0, np.nan)
            exact = exact and not np.count_nonzero(with_bias)
        kernel_sum = _kernel_sums(records.values[layer.weight], layer.outputs.size)
        without_bias, with_bias = without_bias * kernel_sum, with_bias * kernel_sum
    if layer.bias:
        bias = records.values_of(layer.bias)
        without_bias, with_bias = without_bias + bias, with_bias + bias
    return ChannelState(layer.outputs, without_bias, with_bias, exact)
