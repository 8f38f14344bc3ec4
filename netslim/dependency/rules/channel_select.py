"""Rules for what an earlier pass inserted: a selection before a layer, and a narrow branch into a stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.rules.layers import inputs_along, outputs_along
from netslim.dependency.tracer import Traced, rule, unknown
from netslim.nn.channel_select import place, select

__all__: list[str] = []


@rule(select)
def _select(func: Any, x: Any, reads: Any) -> Any:
    if not isinstance(reads, Traced) or not reads.source:
        return unknown(func, (x, reads), {})
    index = x.records.values_of(reads.source).astype(np.int64)
    stream = inputs_along(x, 1)
    shape = (x.shape[0], index.size, *x.shape[2:])
    result = outputs_along(x, shape, 1, stream.moved(lambda vector: vector[index]), None)
    result.selected = (stream.labels, index)
    return result


@rule(place)
def _place(func: Any, x: Any, sources: Any, fill: Any) -> Any:
    norm, records = x.made_by, x.records
    if norm is None or not sources.source:
        return unknown(func, (x, sources, fill), {})
    index = records.values_of(sources.source).astype(np.int64)
    width, inside = index.size, index < norm.width
    if norm.output_labels.size == norm.width:  # the first call: widen what the BatchNorm feeds
        fed = records.new_labels(width)
        fed[inside] = norm.output_labels[index[inside]]
        norm.fill = "" if fill is None else fill.source
        norm.output_labels, norm.output_index = fed, np.flatnonzero(inside)[np.argsort(index[inside])]
    sent = [np.zeros(width) if fill is None else records.values_of(fill.source) for _ in range(2)]
    if norm.bias:
        sent[1] = sent[1].copy()
        sent[1][norm.output_index] += records.values_of(norm.bias)
    shape = (x.shape[0], width, *x.shape[2:])
    return outputs_along(x, shape, 1, ChannelState(norm.output_labels, sent[0], sent[1]), None)
