"""Rules for functions that make tensors: of the shape of another, or of sizes that the model gives.

A size may be a count of channels: `torch.zeros(n, c, h, w)` with the `c` of a feature map loses the channels
that the feature map loses. Without counts, the tensor is a plain one, with its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import RuleSet, name_of
from netslim.dependency.rules.common import channels_of, make, mark_counts, without_counts
from netslim.dependency.symbolic_size import ChannelCount, plain
from netslim.dependency.tracer import TracedTensor

__all__ = ["RULES", "make_plain"]

RULES = RuleSet()

_VALUES = {"zeros": 0.0, "ones": 1.0, "empty": np.nan, "rand": np.nan, "randn": np.nan}


@RULES.register("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "bernoulli", "full_like")
def _new_of_same_shape(func: Any, input: TracedTensor, *args: Any, **kwargs: Any) -> TracedTensor:
    """A new tensor that loses channels where `input` does, with values that do not depend on it."""
    channels, dtype = channels_of(input), kwargs.get("dtype")
    if channels is None:
        return make(input, None, dtype=dtype)
    value = _VALUES.get(name_of(func).removesuffix("_like"), np.nan)
    if name_of(func) == "full_like":
        value = _number(args[0] if args else kwargs.get("fill_value"))
    return make(input, channels.filled(np.full(channels.labels.shape, value)), dtype=dtype)


@RULES.register(
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", accepts_counts=True, is_query=True
)
def _new(func: Any, input: TracedTensor, *args: Any, **kwargs: Any) -> Any:
    """A tensor of given sizes, with the dtype of `input` and nothing else of it."""
    options = {"dtype": input.dtype, "device": input.records.device} | kwargs
    function = getattr(torch, name_of(func).removeprefix("new_"))
    return make_plain(input.records, function, args, options)


def make_plain(records: TraceRecords, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a function that takes no tensor of the network."""
    if not _has_count((*args, *kwargs.values())):
        return func(*args, **kwargs)
    name = name_of(func)
    if name in (*_VALUES, "full"):
        sizes = kwargs.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
        counts = [axis for axis, size in enumerate(sizes) if isinstance(size, ChannelCount)]
        if len(counts) == 1 and sizes[counts[0]].labels.size == plain(sizes[counts[0]]):
            fill = kwargs.get("fill_value", args[1] if len(args) > 1 else None)
            value = _number(fill) if name == "full" else _VALUES[name]
            return _of_counted_size(records, sizes, counts[0], value, kwargs.get("dtype"))
    mark_counts((*args, *kwargs.values()))
    return func(*without_counts(args), **without_counts(kwargs))


def _has_count(value: Any) -> bool:
    """Whether a count lies in these arguments."""
    if isinstance(value, (tuple, list)):
        return any(map(_has_count, value))
    if isinstance(value, slice):
        return any(map(_has_count, (value.start, value.stop, value.step)))
    return isinstance(value, (ChannelCount, AttributeSize))


def _of_counted_size(
    records: TraceRecords, sizes: Sequence[Any], axis: int, value: float, dtype: torch.dtype | None
) -> TracedTensor:
    labels = sizes[axis].labels.reshape([-1 if number == axis else 1 for number in range(len(sizes))])
    result = TracedTensor(map(plain, sizes), dtype or torch.get_default_dtype(), records)
    values = np.full(labels.shape, value)
    result.channels = ChannelState(labels, values, values)
    return result


def _number(value: Any) -> float:
    if isinstance(value, Tensor):
        return float(value) if type(value) is Tensor and value.numel() == 1 and not value.is_meta else np.nan
    return np.nan if value is None else float(value)
