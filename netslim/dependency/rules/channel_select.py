"""Rules for the channel selects that an earlier pass put before and behind a BatchNorm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.layer_records import NormLayer
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import inputs_along, outputs_along, source_of, unknown
from netslim.dependency.tracer import TracedTensor
from netslim.nn.channel_select import place, select

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register(select)
def _select(func: Any, x: Any, reads: Any) -> Any:
    """Some channels of a tensor, for the BatchNorm behind it."""
    if not isinstance(reads, TracedTensor) or not reads.source:
        return unknown(func, x, reads)
    index = x.records.values_of(reads.source).astype(np.int64)
    inputs = inputs_along(x, 1)
    shape = (x.shape[0], index.size, *x.shape[2:])
    result = outputs_along(x, shape, 1, inputs.rearranged(lambda vector: vector[index]))
    result.selected = (inputs.labels, index)
    return result


@RULES.register(place)
def _place(func: Any, x: Any, sources: Any, fill: Any) -> Any:
    """The outputs of a BatchNorm in a wider tensor, whose other channels are 0 or a constant of `fill`."""
    records = x.records
    if not x.norm_path or not sources.source:
        return unknown(func, x, sources, fill)
    norm = records.norms[x.norm_path]
    if not norm.placed:
        index = records.values_of(sources.source).astype(np.int64)
        norm = records.norms[x.norm_path] = _placed(records, norm, index, source_of(fill))
    width = norm.output_labels.size
    without_bias = np.zeros(width) if fill is None else records.values_of(fill.source)
    with_bias = without_bias.copy()
    if norm.bias:
        with_bias[norm.output_index] += records.values_of(norm.bias)
    shape = (x.shape[0], width, *x.shape[2:])
    return outputs_along(x, shape, 1, ChannelState(norm.output_labels, without_bias, with_bias))


def _placed(records: TraceRecords, norm: NormLayer, sources: Ints, fill: str) -> NormLayer:
    """The BatchNorm with the wider tensor as its output.

    Args:
        sources: for each channel of the wider tensor, which output lies there; `norm.width` for none.
        fill: the path of the constants that are added; "" for none.
    """
    filled = sources < norm.width
    labels = records.new_labels(sources.size)
    labels[filled] = norm.output_labels[sources[filled]]
    index = np.flatnonzero(filled)[np.argsort(sources[filled])]
    return replace(norm, output_labels=labels, output_index=index, placed=True, fill=fill)
