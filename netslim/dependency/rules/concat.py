"""Rules for operations that join tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from netslim.dependency.channel_state import Array, ChannelState
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import channels_of, make, new_unprunable
from netslim.dependency.tracer import TracedTensor

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register("cat", "concat", "concatenate", keeps_offsets=True)
def _concat(func: Any, tensors: Any, dim: int = 0) -> Any:
    like = next(tensor for tensor in tensors if isinstance(tensor, TracedTensor))
    axis = dim % like.dim()
    shape = list(like.shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    states = [channels_of(tensor) if isinstance(tensor, TracedTensor) else None for tensor in tensors]
    if not any(states):
        return make(like, None, shape)
    if any(_varies_along_other_axes(state, axis) for state in states if state):
        return _concat_across(like, states, shape)
    parts = [
        _along_axis(like.records, tensor, state, axis) for tensor, state in zip(tensors, states, strict=True)
    ]
    return make(like, _joined(parts, axis), shape)


def _varies_along_other_axes(channels: ChannelState, axis: int) -> bool:
    return any(size > 1 for other, size in enumerate(channels.labels.shape) if other != axis)


def _along_axis(records: TraceRecords, tensor: Any, channels: ChannelState | None, axis: int) -> ChannelState:
    """The channels with all sizes of `axis`; new ones that must stay where they are not known."""
    size = tensor.shape[axis]
    if channels is not None and channels.labels.shape[axis] == size:
        return channels
    reason = tensor.why if isinstance(tensor, TracedTensor) else "they are a constant of the model"
    labels = new_unprunable(records, size, reason)
    if channels is not None:
        reason = f"joined along another axis at {records.source_line()}"
        records.mark_unprunable(channels.labels, reason)
        records.uncompensated_sources.extend(channels.conv_sources)
    sizes = [size if number == axis else 1 for number in range(tensor.dim())]
    return ChannelState.without_values(labels.reshape(sizes))


def _joined(parts: Sequence[ChannelState], axis: int) -> ChannelState:
    """The channels of tensors that are joined along the axis of the channels."""

    def join(arrays: Iterable[Array]) -> Array:
        return np.concatenate(list(arrays), axis)

    no_source = [np.full_like(part.labels, -1) for part in parts]
    terms = zip_longest(*(part.conv_sources for part in parts))  # None where a part has fewer terms
    return ChannelState(
        join(part.labels for part in parts),
        join(part.value_without_bias for part in parts),
        join(part.value_with_bias for part in parts),
        all(part.exact for part in parts),
        tuple(
            join(none if labels is None else labels for labels, none in zip(term, no_source, strict=True))
            for term in terms
        ),
    )


def _concat_across(
    like: TracedTensor, states: Sequence[ChannelState | None], shape: list[int]
) -> TracedTensor:
    """Tensors joined along an axis along which their channels do not vary: channels at one place are tied."""
    records, first = like.records, states[0]
    if first is None or any(state is None or state.labels.shape != first.labels.shape for state in states):
        why = f"tensors of known and unknown channels are joined at {records.source_line()}"
        for state in states:
            if state is not None:
                records.mark_unprunable(state.labels, why)
        return make(like, None, shape, why=why)
    known = [state for state in states if state is not None]
    without_bias, with_bias = first.value_without_bias, first.value_with_bias
    for state in known[1:]:
        records.tie(first.labels, state.labels)
        without_bias = np.where(without_bias == state.value_without_bias, without_bias, np.nan)
        with_bias = np.where(with_bias == state.value_with_bias, with_bias, np.nan)
    for state in known:
        records.uncompensated_sources.extend(state.conv_sources)
    exact = all(state.exact for state in known)
    return make(like, ChannelState(first.labels, without_bias, with_bias, exact), shape)
