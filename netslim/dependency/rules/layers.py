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

from netslim.dependency.channel_state import Channels
from netslim.dependency.records import IN, OUT, Norm, Read, Taps, TraceRecords, values_of
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
    taps = _taps(input, weight, None, stride, padding, dilation)
    shape = (input.shape[0], weight.shape[0], *taps.out)
    return _convolve(input, weight, bias, shape, groups, taps, transposed=False)


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
    taps = _taps(input, weight, shape[2:], stride, padding, dilation)
    return _convolve(input, weight, bias, shape, groups, taps, transposed=True)


@rule("linear")
def _linear(func: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    if not _own(weight, bias) or not isinstance(input, Traced) or weight.dim() != 2:
        return unknown(func, (input, weight, bias), {})
    facts, axis, width = input.facts, input.dim() - 1, weight.shape[0]
    inputs, outputs = inputs_along(input, axis), facts.axis(weight.source, OUT, width)
    owner = facts.owner(weight.source, nn.Linear)
    _mix(facts, Read(weight.source, _source(bias), *owner, inputs, outputs))
    return outputs_along(input, (*input.shape[:-1], width), axis, Channels.raw(outputs), bias)


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
    facts, width, inputs = input.facts, input.shape[1], inputs_along(input, 1)
    if weight is None:
        for vector in vectors:
            if vector is not None:
                facts.hold(vector.source, 0, inputs.labels)
        facts.leaked.extend(inputs.terms)
        return outputs_along(input, input.shape, 1, inputs.unknown(), None)
    norm = _norm(facts, input, inputs, vectors)
    sent = facts.numbers(bias.source) if bias is not None else np.zeros(width)
    kept = Channels(norm.fed[norm.places], np.zeros(width), sent)
    result = outputs_along(input, input.shape, 1, kept, None)
    result.made_by = norm
    return result


@rule("prelu")
def _prelu(func: Any, input: Any, weight: Any) -> Any:
    if not isinstance(input, Traced) or not _own(weight):
        return unknown(func, (input, weight), {})
    slopes = input.facts.numbers(weight.source)
    kept = channels_of(input)
    if kept is None:
        return made(input, None)
    if slopes.size == 1:
        slopes = slopes.ravel()[0]
    else:
        kept = inputs_along(input, 1)
        input.facts.hold(weight.source, 0, kept.labels)
    masked, constant = (np.where(sent < 0, slopes * sent, sent) for sent in (kept.masked, kept.constant))
    result = Channels(kept.labels, masked, constant, kept.exact)
    return made(input, result) if slopes.size == 1 else outputs_along(input, input.shape, 1, result, None)


def _convolve(
    input: Traced,
    weight: Traced,
    bias: Any,
    shape: tuple[int, ...],
    groups: int,
    taps: Taps,
    transposed: bool,
) -> Traced:
    facts = input.facts
    inputs, outputs = inputs_along(input, 1), facts.axis(weight.source, OUT, shape[1])
    owner = facts.owner(weight.source, _ConvNd)
    depthwise = 1 < groups == input.shape[1]
    read = Read(weight.source, _source(bias), *owner, inputs, outputs, groups, taps, transposed, depthwise)
    if depthwise:
        _keep_apart(facts, read)
        return outputs_along(input, shape, 1, _filtered(facts, read), bias)
    if groups > 1:
        facts.balance(inputs.labels.reshape(groups, -1))
        facts.balance(outputs.reshape(groups, -1))
    _mix(facts, read)
    raw = Channels.raw(outputs)
    raw.terms = (outputs,)
    return outputs_along(input, shape, 1, raw, bias)


def _mix(facts: TraceRecords, read: Read) -> None:
    """Every output depends on every input: a removed input must have been a constant, and 0 at a border."""
    sent, labels = read.inputs.masked, read.inputs.labels
    facts.hold(read.weight, IN, labels)
    if sent.any():  # NaN counts
        layer, unknown_ = read.module or read.weight, np.isnan(sent)
        facts.freeze(labels[unknown_], f"{layer} reads them as they are")
        if read.bordered or not (read.bias or read.standard):
            shifted = ~unknown_ & (sent != 0)
            facts.freeze(labels[shifted], f"{layer} reads them activated to something else than 0")
    first = facts.reads.setdefault(read.weight, read)
    if first is read or facts.again:
        return
    # The layer is called again: one bias has to make up for both calls, so both must miss the same.
    facts.freeze(
        labels[first.inputs.masked != sent], f"{read.module or read.weight} is used twice, differently"
    )
    same = first.inputs.constant == read.inputs.constant
    constant = np.where(same, read.inputs.constant, np.nan)
    exact = first.inputs.exact and read.inputs.exact and first.taps == read.taps
    facts.reads[read.weight] = replace(first, inputs=replace(first.inputs, constant=constant, exact=exact))


def _keep_apart(facts: TraceRecords, read: Read) -> None:
    """A depthwise convolution: input c makes outputs c * m to c * m + m - 1, so they go together."""
    labels = read.inputs.labels
    facts.hold(read.weight, IN, labels)
    facts.merge(np.repeat(labels, read.outputs.size // labels.size), read.outputs)
    facts.bound.append(labels)
    facts.reads.setdefault(read.weight, read)
    if not read.module:  # the number of groups is a constant of the model's code
        facts.freeze(labels, f"a depthwise convolution is called as a function at {facts.where()}")


def _filtered(facts: TraceRecords, read: Read) -> Channels:
    """What a depthwise convolution makes of constants: exact without a border, or for 0."""
    times = read.outputs.size // read.inputs.labels.size
    masked, constant = (np.repeat(sent, times) for sent in (read.inputs.masked, read.inputs.constant))
    exact = read.inputs.exact
    if (masked != 0).any() or (constant != 0).any():
        kernel = facts.values[read.weight].detach().reshape(read.outputs.size, -1)
        gain = values_of(kernel.sum(1, dtype=torch.float64))
        if read.bordered:
            masked = np.where(masked == 0, 0.0, np.nan)
            exact = exact and not (constant != 0).any()
        masked, constant = masked * gain, constant * gain
    if read.bias:
        bias = facts.numbers(read.bias)
        masked, constant = masked + bias, constant + bias
    return Channels(read.outputs, masked, constant, exact)


def _norm(facts: TraceRecords, input: Traced, inputs: Channels, vectors: tuple[Any, ...]) -> Norm:
    """The BatchNorm with this weight; met again, it stands between the same channels again."""
    weight, bias, mean, variance = sources = tuple(map(_source, vectors))
    stream, reads = input.selected or (inputs.labels, np.arange(inputs.labels.size))
    norm = facts.norms.get(weight)
    if norm is None:
        path, standard = facts.owner(weight, _BatchNorm)
        outer, _ = facts.owner(path, ChannelSelect)
        fed = facts.new(reads.size)
        norm = Norm(
            *(outer or path or weight, bool(path), standard),
            *(weight, bias, mean, variance),
            *(stream, reads, fed, np.arange(fed.size)),
            inputs.terms,
        )
        if not mean:
            facts.leaked.extend(inputs.terms)
        facts.norms[weight] = norm
        return norm
    if sources != (norm.weight, norm.bias, norm.mean, norm.variance):
        facts.pin(weight, "two BatchNorms share these factors")
    facts.leaked.extend((*norm.terms, *inputs.terms) if not facts.again else ())
    if norm.stream.size == stream.size and np.array_equal(norm.reads, reads):
        facts.merge(norm.stream, stream)
    else:
        reason = f"{norm.path} reads it in two ways"
        facts.freeze(norm.stream, reason)
        facts.freeze(stream, reason)
    return norm


def _own(*parameters: Any) -> bool:
    """All of these are parameters or buffers of the model, or None."""
    for parameter in parameters:
        if parameter is not None and not (type(parameter) is Traced and parameter.source):
            return False
    return True


def _source(parameter: Any) -> str:
    return "" if parameter is None else str(parameter.source)


def inputs_along(input: Traced, axis: int) -> Channels:
    """The channels along `axis`; where they are not known, new ones that must stay."""
    facts, size, channels = input.facts, input.shape[axis], channels_of(input)
    found = channels.along(axis, size) if channels is not None else None
    if found is not None:
        return found
    if channels is not None:
        facts.freeze(channels.labels, f"they do not lie along one axis at {facts.where()}")
    labels = facts.new(size)
    facts.freeze(labels, input.why)
    return Channels.raw(labels)


def outputs_along(input: Traced, shape: tuple[int, ...], axis: int, kept: Channels, bias: Any) -> Traced:
    """A tensor with these channels, given as vectors, along `axis`; `bias` holds them as well."""
    facts, size = input.facts, shape[axis]
    if bias is not None:
        facts.hold(bias.source, 0, kept.labels)
    if size == 1:
        facts.freeze(kept.labels, "it is the only channel")
        facts.leaked.extend(kept.terms)
        return made(input, None, shape)
    lies = (1,) * axis + (size,) + (1,) * (len(shape) - axis - 1)
    return made(input, kept.moved(lambda vector: vector.reshape(lies)), shape)


def _taps(input: Traced, weight: Traced, out: Any, stride: Any, padding: Any, dilation: Any) -> Taps:
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
) -> Taps:
    reach = [d * (k - 1) for d, k in zip(spread, kernel, strict=True)]
    if isinstance(padding, str):  # "same" pads as much as the kernel reaches, perhaps unevenly
        margins = reach if padding == "same" else [0] * len(kernel)
    else:
        margins = [2 * pad for pad in padding]
    if out is None:
        axes = zip(size, margins, reach, steps, strict=True)
        out = tuple((length + margin - far - 1) // step + 1 for length, margin, far, step in axes)
    return Taps(size, out, steps, tuple(margin // 2 for margin in margins), spread)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    """One number for each axis."""
    return (int(value),) * axes if isinstance(value, int) else tuple(map(int, value))
