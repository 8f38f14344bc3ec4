"""The rule for BatchNorm, whose scaling factors are ranked: a removed channel is 0 behind it, or the bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.layer_records import NormLayer
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import are_parameters, inputs_along, outputs_along, source_of, unknown
from netslim.dependency.tracer import TracedTensor
from netslim.nn.channel_select import type_of
from netslim.nn.own_rules import inside_own_rule

__all__ = ["RULES"]

RULES = RuleSet()

_STANDARD_FORWARD = {_BatchNorm.forward, nn.SyncBatchNorm.forward}
"""Also a class of the user's own that has one of these: a channel select fits before and behind it."""


class NormPaths(NamedTuple):
    """The paths of the vectors of a BatchNorm; "" for none."""

    weight: str
    bias: str
    mean: str
    variance: str


@RULES.register("batch_norm", keeps_offsets=True, any_mode=True)
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
    if not isinstance(input, TracedTensor) or not are_parameters(*vectors):
        return unknown(func, input, running_mean, running_var, weight, bias, training, momentum, eps)
    records, inputs = input.records, inputs_along(input, 1)
    if weight is None:
        return _without_factors(input, inputs, vectors)
    paths = NormPaths(*map(source_of, vectors))
    read = input.selected or (inputs.labels, np.arange(inputs.labels.size))
    norm = records.norms.get(paths.weight)
    if norm is None:
        norm = records.norms[paths.weight] = _new_norm(records, paths, read, inputs.conv_sources)
    else:
        _use_again(records, norm, paths, read, inputs.conv_sources)
    beta = records.values_of(norm.bias) if norm.bias else np.zeros(norm.width)
    outputs = ChannelState(norm.output_labels[norm.output_index], np.zeros(norm.width), beta)
    result = outputs_along(input, input.shape, 1, outputs)
    result.norm_path = norm.weight
    return result


def _without_factors(
    input: TracedTensor, inputs: ChannelState, vectors: tuple[TracedTensor | None, ...]
) -> TracedTensor:
    """A BatchNorm with affine=False: its vectors lose the channels that its input loses."""
    records = input.records
    for vector in vectors:
        if vector is not None:
            records.tie_axis(vector.source, 0, inputs.labels)
    records.uncompensated_sources.extend(inputs.conv_sources)
    return outputs_along(input, input.shape, 1, ChannelState.without_values(inputs.labels))


def _new_norm(
    records: TraceRecords, paths: NormPaths, read: tuple[Ints, Ints], conv_sources: tuple[Ints, ...]
) -> NormLayer:
    """The record of a BatchNorm that is met for the first time; its outputs are new channels."""
    path, _ = records.owning_module(paths.weight, _BatchNorm)
    standard = bool(path) and type_of(records.modules[path]).forward in _STANDARD_FORWARD
    standard = standard and not inside_own_rule()
    input_labels, input_index = read
    if not paths.mean:
        records.uncompensated_sources.extend(conv_sources)
    return NormLayer(
        path=path or paths.weight,
        is_module=bool(path),
        standard=standard,
        weight=paths.weight,
        bias=paths.bias,
        mean=paths.mean,
        variance=paths.variance,
        input_labels=input_labels,
        input_index=input_index,
        output_labels=records.new_labels(input_index.size),
        output_index=np.arange(input_index.size),
        conv_sources=conv_sources,
    )


def _use_again(
    records: TraceRecords,
    norm: NormLayer,
    paths: NormPaths,
    read: tuple[Ints, Ints],
    conv_sources: tuple[Ints, ...],
) -> None:
    """A BatchNorm is called again: the same channels are before and behind it."""
    if paths != (norm.weight, norm.bias, norm.mean, norm.variance):
        records.keep_whole(norm.weight, "two BatchNorms share these factors")
    if inside_own_rule():
        records.norms[norm.weight] = replace(norm, standard=False)
    if not records.second_mode:
        records.uncompensated_sources.extend((*norm.conv_sources, *conv_sources))
    input_labels, input_index = read
    if norm.input_labels.size == input_labels.size and np.array_equal(norm.input_index, input_index):
        records.tie(norm.input_labels, input_labels)
        return
    for labels in (norm.input_labels, input_labels):
        records.mark_unprunable(labels, f"{norm.path} reads it in two ways")
