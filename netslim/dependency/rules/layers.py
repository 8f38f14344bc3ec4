"""Rules for the layers with weights: who mixes channels, who keeps them apart, who scales them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.records import (
    IN,
    OUT,
    KernelGeometry,
    NormLayer,
    TraceRecords,
    WeightedLayer,
    to_numpy,
)
from netslim.dependency.tracer import Traced, channels_of, made, rule, shape_of, unknown
from netslim.nn.channel_select import ChannelSelect

__all__ = ["inputs_along", "outputs_along"]


@rule("conv1d", "conv2d", "conv3d")
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
    arguments = (input, weight, bias, stride, padding, dilation, groups)
    if not _own(weight, bias) or not isinstance(input, Traced) or input.dim() != weight.dim():
        return unknown(func, arguments, {})
    geometry = _taps(input, weight, None, stride, padding, dilation)
    shape = (input.shape[0], weight.shape[0], *geometry.output_size)
    return _convolve(input, weight, bias, shape, groups, geometry, transposed=False)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed(
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
    if not _own(weight, bias) or not isinstance(input, Traced) or input.dim() != weight.dim():
        return unknown(func, arguments, {})
    shape = shape_of(func, arguments, {}).shape
    geometry = _taps(input, weight, shape[2:], stride, padding, dilation)
    return _convolve(input, weight, bias, shape, groups, geometry, transposed=True)


@rule("linear")
def _linear(func: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    if not _own(weight, bias) or not isinstance(input, Traced) or weight.dim() != 2:
        return unknown(func, (input, weight, bias), {})
    records, axis, width = input.records, input.dim() - 1, weight.shape[0]
    inputs, outputs = inputs_along(input, axis), records.axis_labels(weight.source, OUT, width)
    owner = records.owning_module(weight.source, nn.Linear)
    _mix(records, WeightedLayer(weight.source, _source(bias), *owner, inputs, outputs))
    return outputs_along(input, (*input.shape[:-1], width), axis, ChannelState.raw(outputs), bias)


@rule("batch_norm", linear=True)
def _batch_norm(
    func: Any,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Any:
    vectors = (weight, bias, running_mean, running_var)
    if not isinstance(input, Traced) or not _own(*vectors):
        return unknown(func, (input, running_mean, running_var, weight, bias, training, momentum, eps), {})
    records, width, inputs = input.records, input.shape[1], inputs_along(input, 1)
    if weight is None:
        for vector in vectors:
            if vector is not None:
                records.tie_axis(vector.source, 0, inputs.labels)
        records.uncompensated_sources.extend(inputs.conv_sources)
        return outputs_along(input, input.shape, 1, inputs.unknown(), None)
    norm = _norm(records, input, inputs, vectors)
    sent = records.values_of(bias.source) if bias is not None else np.zeros(width)
    kept = ChannelState(norm.output_labels[norm.output_index], np.zeros(width), sent)
    result = outputs_along(input, input.shape, 1, kept, None)
    result.made_by = norm
    return result


@rule("prelu")
def _prelu(func: Any, input: Any, weight: Any) -> Any:
    if not isinstance(input, Traced) or not _own(weight):
        return unknown(func, (input, weight), {})
    slopes = input.records.values_of(weight.source)
    kept = channels_of(input)
    if kept is None:
        return made(input, None)
    if slopes.size == 1:
        slopes = slopes.ravel()[0]
    else:
        kept = inputs_along(input, 1)
        input.records.tie_axis(weight.source, 0, kept.labels)
    masked, constant = (
        np.where(sent < 0, slopes * sent, sent) for sent in (kept.value_without_bias, kept.value_with_bias)
    )
    result = ChannelState(kept.labels, masked, constant, kept.exact)
    return made(input, result) if slopes.size == 1 else outputs_along(input, input.shape, 1, result, None)


def _convolve(
    input: Traced,
    weight: Traced,
    bias: Any,
    shape: tuple[int, ...],
    groups: int,
    geometry: KernelGeometry,
    transposed: bool,
) -> Traced:
    records = input.records
    inputs, outputs = inputs_along(input, 1), records.axis_labels(weight.source, OUT, shape[1])
    owner = records.owning_module(weight.source, _ConvNd)
    depthwise = 1 < groups == input.shape[1]
    read = WeightedLayer(
        weight.source, _source(bias), *owner, inputs, outputs, groups, geometry, transposed, depthwise
    )
    if depthwise:
        _keep_apart(records, read)
        return outputs_along(input, shape, 1, _filtered(records, read), bias)
    if groups > 1:
        records.require_equal_blocks(inputs.labels.reshape(groups, -1))
        records.require_equal_blocks(outputs.reshape(groups, -1))
    _mix(records, read)
    raw = ChannelState.raw(outputs)
    raw.conv_sources = (outputs,)
    return outputs_along(input, shape, 1, raw, bias)


def _mix(records: TraceRecords, read: WeightedLayer) -> None:
    """Every output depends on every input: a removed input must have been a constant, and 0 at a border."""
    sent, labels = read.inputs.value_without_bias, read.inputs.labels
    records.tie_axis(read.weight, IN, labels)
    if sent.any():  # NaN counts
        layer, unknown_ = read.module or read.weight, np.isnan(sent)
        records.mark_unprunable(labels[unknown_], f"{layer} reads them as they are")
        if read.has_border_effects or not (read.bias or read.standard):
            shifted = ~unknown_ & (sent != 0)
            records.mark_unprunable(labels[shifted], f"{layer} reads them activated to something else than 0")
    first = records.weighted_layers.setdefault(read.weight, read)
    if first is read or records.second_mode:
        return
    # The layer is called again: one bias has to make up for both calls, so both must miss the same.
    records.mark_unprunable(
        labels[first.inputs.value_without_bias != sent],
        f"{read.module or read.weight} is used twice, differently",
    )
    same = first.inputs.value_with_bias == read.inputs.value_with_bias
    constant = np.where(same, read.inputs.value_with_bias, np.nan)
    exact = first.inputs.exact and read.inputs.exact and first.geometry == read.geometry
    records.weighted_layers[read.weight] = replace(
        first, inputs=replace(first.inputs, value_with_bias=constant, exact=exact)
    )


def _keep_apart(records: TraceRecords, read: WeightedLayer) -> None:
    """A depthwise convolution: input c makes outputs c * m to c * m + m - 1, so they go together."""
    labels = read.inputs.labels
    records.tie_axis(read.weight, IN, labels)
    records.tie(np.repeat(labels, read.outputs.size // labels.size), read.outputs)
    records.depthwise_inputs.append(labels)
    records.weighted_layers.setdefault(read.weight, read)
    if not read.module:  # the number of groups is a constant of the model's code
        records.mark_unprunable(
            labels, f"a depthwise convolution is called as a function at {records.source_line()}"
        )


def _filtered(records: TraceRecords, read: WeightedLayer) -> ChannelState:
    """What a depthwise convolution makes of constants: exact without a border, or for 0."""
    times = read.outputs.size // read.inputs.labels.size
    masked, constant = (
        np.repeat(sent, times) for sent in (read.inputs.value_without_bias, read.inputs.value_with_bias)
    )
    exact = read.inputs.exact
    if (masked != 0).any() or (constant != 0).any():
        kernel = records.values[read.weight].detach().reshape(read.outputs.size, -1)
        gain = to_numpy(kernel.sum(1, dtype=torch.float64))
        if read.has_border_effects:
            masked = np.where(masked == 0, 0.0, np.nan)
            exact = exact and not (constant != 0).any()
        masked, constant = masked * gain, constant * gain
    if read.bias:
        bias = records.values_of(read.bias)
        masked, constant = masked + bias, constant + bias
    return ChannelState(read.outputs, masked, constant, exact)


def _norm(records: TraceRecords, input: Traced, inputs: ChannelState, vectors: tuple[Any, ...]) -> NormLayer:
    """The BatchNorm with this weight; met again, it stands between the same channels again."""
    weight, bias, mean, variance = sources = tuple(map(_source, vectors))
    stream, reads = input.selected or (inputs.labels, np.arange(inputs.labels.size))
    norm = records.norms.get(weight)
    if norm is None:
        path, standard = records.owning_module(weight, _BatchNorm)
        outer, _ = records.owning_module(path, ChannelSelect)
        fed = records.new_labels(reads.size)
        norm = NormLayer(
            *(outer or path or weight, bool(path), standard),
            *(weight, bias, mean, variance),
            *(stream, reads, fed, np.arange(fed.size)),
            inputs.conv_sources,
        )
        if not mean:
            records.uncompensated_sources.extend(inputs.conv_sources)
        records.norms[weight] = norm
        return norm
    if sources != (norm.weight, norm.bias, norm.mean, norm.variance):
        records.keep_whole(weight, "two BatchNorms share these factors")
    records.uncompensated_sources.extend(
        (*norm.conv_sources, *inputs.conv_sources) if not records.second_mode else ()
    )
    if norm.input_labels.size == stream.size and np.array_equal(norm.input_index, reads):
        records.tie(norm.input_labels, stream)
    else:
        reason = f"{norm.path} reads it in two ways"
        records.mark_unprunable(norm.input_labels, reason)
        records.mark_unprunable(stream, reason)
    return norm


def _own(*parameters: Any) -> bool:
    """All of these are parameters or buffers of the model, or None."""
    for parameter in parameters:
        if parameter is not None and not (type(parameter) is Traced and parameter.source):
            return False
    return True


def _source(parameter: Any) -> str:
    return "" if parameter is None else str(parameter.source)


def inputs_along(input: Traced, axis: int) -> ChannelState:
    """The channels along `axis`; where they are not known, new ones that must stay."""
    records, size, channels = input.records, input.shape[axis], channels_of(input)
    found = channels.along(axis, size) if channels is not None else None
    if found is not None:
        return found
    if channels is not None:
        records.mark_unprunable(channels.labels, f"they do not lie along one axis at {records.source_line()}")
    labels = records.new_labels(size)
    records.mark_unprunable(labels, input.why)
    return ChannelState.raw(labels)


def outputs_along(input: Traced, shape: tuple[int, ...], axis: int, kept: ChannelState, bias: Any) -> Traced:
    """A tensor with these channels, given as vectors, along `axis`; `bias` holds them as well."""
    records, size = input.records, shape[axis]
    if bias is not None:
        records.tie_axis(bias.source, 0, kept.labels)
    if size == 1:
        records.mark_unprunable(kept.labels, "it is the only channel")
        records.uncompensated_sources.extend(kept.conv_sources)
        return made(input, None, shape)
    lies = (1,) * axis + (size,) + (1,) * (len(shape) - axis - 1)
    return made(input, kept.moved(lambda vector: vector.reshape(lies)), shape)


def _taps(
    input: Traced, weight: Traced, out: Any, stride: Any, padding: Any, dilation: Any
) -> KernelGeometry:
    """The geometry of a convolution; `out` as given, or None for what a plain convolution makes."""
    kernel, size = tuple(weight.shape[2:]), tuple(input.shape[2:])
    if not isinstance(padding, str):
        padding = _each(padding, len(kernel))
    steps, spread = _each(stride, len(kernel)), _each(dilation, len(kernel))
    return _geometry(kernel, size, out if out is None else tuple(out), steps, padding, spread)


@lru_cache(maxsize=1024)
def _geometry(
    kernel: tuple[int, ...],
    size: tuple[int, ...],
    out: tuple[int, ...] | None,
    steps: tuple[int, ...],
    padding: tuple[int, ...] | str,
    spread: tuple[int, ...],
) -> KernelGeometry:
    reach = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
    if isinstance(padding, str):  # "same" pads as much as the kernel reaches, perhaps unevenly
        margins = reach if padding == "same" else [0] * len(kernel)
    else:
        margins = [2 * pad for pad in padding]
    if out is None:
        axes = zip(size, margins, reach, steps, strict=True)
        out = tuple((length + margin - far - 1) // step + 1 for length, margin, far, step in axes)
    return KernelGeometry(size, out, steps, tuple(margin // 2 for margin in margins), spread)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis."""
    return (int(value),) * axes if isinstance(value, int) else tuple(map(int, value))
