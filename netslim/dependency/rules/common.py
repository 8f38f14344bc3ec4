"""Functions that several rules share: results, their shapes, and channels along one axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.records import IN, OUT, TraceRecords
from netslim.dependency.rule import name_of
from netslim.dependency.symbolic_size import ChannelCount, ParameterCount, plain
from netslim.dependency.tracer import TracedTensor
from netslim.errors import ModelError, first_line
from netslim.nn._torch import tree_leaves, tree_map_only
from netslim.nn.shape_pooling import RULES as SHAPES

__all__ = [
    "are_parameters",
    "channels_of",
    "inputs_along",
    "make",
    "mark_counts",
    "new_unprunable",
    "outputs_along",
    "shape_of",
    "size_of",
    "source_of",
    "unknown",
    "without_counts",
]


def make(
    like: TracedTensor,
    channels: ChannelState | None,
    shape: Iterable[int] | None = None,
    *,
    dtype: torch.dtype | None = None,
    why: str = "",
) -> TracedTensor:
    """A new tensor of the network, by default of the shape and dtype of `like`."""
    shape = like.shape if shape is None else shape
    result = TracedTensor(shape, dtype or like.dtype, like.records, why or like.why)
    result.channels = channels
    return result


def channels_of(tensor: TracedTensor) -> ChannelState | None:
    """The state of a tensor's channels. A 1-D parameter has one channel for each value.

    A parameter with more axes is used here as a tensor, not as the weight of a layer. It may be one as well,
    elsewhere; so it must stay as it is.
    """
    records, path = tensor.records, tensor.source
    if tensor.channels is not None or not path or tensor.numel() < 2:
        return tensor.channels
    if max(tensor.shape) < tensor.numel():
        records.keep_whole(path, f"{path} is used as a tensor at {records.source_line()}")
        return None
    axis = int(np.argmax(tensor.shape))
    values = records.values_of(path)
    labels = records.axis_labels(path, axis, tensor.numel()).reshape(values.shape)
    records.read_vectors.add(path)
    return ChannelState(labels, values, values)


def unknown(func: Any, *args: Any, **kwargs: Any) -> Any:
    """The result of an operation that cannot be followed: right shapes, and nothing known of the channels.

    All channels that go in are marked as unprunable.
    """
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, TracedTensor)]
    records = tensors[0].records
    reason = f"{name_of(func)} at {records.source_line()}"
    mark_counts((*args, *kwargs.values()))
    for tensor in tensors:
        if tensor.source:
            records.keep_whole(tensor.source, reason)
        if tensor.channels is not None:
            records.mark_unprunable(tensor.channels.labels, reason)

    def traced(value: Tensor) -> TracedTensor:
        return TracedTensor(value.shape, value.dtype, records, reason)

    return tree_map_only(Tensor, traced, shape_of(func, *args, **kwargs))


def mark_counts(values: Iterable[Any]) -> None:
    """The numbers themselves are used, also those in slices and lists: what they count must stay."""
    for value in values:
        if isinstance(value, (ChannelCount, AttributeSize)):
            value.mark_unprunable()
        elif isinstance(value, slice):
            mark_counts((value.start, value.stop, value.step))
        elif isinstance(value, (tuple, list)):
            mark_counts(value)


def without_counts(value: Any) -> Any:
    """The same arguments with plain numbers in place of channel counts."""
    if isinstance(value, ChannelCount):
        return plain(value)
    if isinstance(value, slice):
        return slice(*map(without_counts, (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {key: without_counts(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return (list if isinstance(value, list) else tuple)(map(without_counts, value))
    return value


def shape_of(func: Any, *args: Any, **kwargs: Any) -> Any:
    """The result of `func` on the meta device, where tensors have a shape and no data.

    Raises:
        ModelError: the operation needs the data.
    """
    try:
        empty = [_on_meta(value) for value in args]
        by_name = {name: _on_meta(value) for name, value in kwargs.items()}
        result = SHAPES[func](*empty, **by_name) if func in SHAPES else NotImplemented
        return func(*empty, **by_name) if result is NotImplemented else result
    except Exception as error:
        leaves = tree_leaves((args, kwargs))
        records = next(value.records for value in leaves if isinstance(value, TracedTensor))
        where = f"{name_of(func)} at {records.source_line()}"
        reason = first_line(error)
        if isinstance(error, NotImplementedError):  # the text of torch is about its own registry
            reason = "it runs on values only"
        raise ModelError(
            f"the forward pass cannot be followed without data: {where} ({reason})",
            field="model",
            remedy="Let shapes alone decide what it does; for an operation of your own, give a rule to "
            "netslim.register_rule; or slim the parts around it",
        ) from error


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    if isinstance(value, (tuple, list)):
        return type(value)(map(_on_meta, value))
    return plain(value) if isinstance(value, ChannelCount) else value


class Shape(tuple[Any, ...]):
    """A shape in which channel counts keep their labels."""

    def numel(self) -> int:
        return math.prod(self)


def size_of(tensor: TracedTensor, dim: int | None = None) -> Any:
    """The shape, or one size of it; the size of the axis along which channels vary is a `ChannelCount`."""
    channels, shape = tensor.channels, tuple(tensor.shape)
    if channels is None and tensor.source:
        shape = tuple(_parameter_size(tensor, axis, size) for axis, size in enumerate(shape))
    elif channels is not None and not tensor.memory.stale:
        shape = tuple(
            ChannelCount(tensor.records, channels.labels.ravel())
            if channels.varies_only_along(axis, size)
            else size
            for axis, size in enumerate(shape)
        )
    return Shape(shape) if dim is None else shape[dim]


def _parameter_size(parameter: TracedTensor, axis: int, size: int) -> int:
    """A size of a parameter: it gets smaller with the channels of the layer that owns the parameter."""
    if size == 1 or axis > 1:
        return size
    records, path = parameter.records, parameter.source
    owner, _, name = path.rpartition(".")
    layer, followed = records.modules.get(owner), None
    if parameter.dim() == 1:
        followed = None if isinstance(layer, _BatchNorm) else 0
    elif name == "weight" and (isinstance(layer, nn.Linear) or _is_plain(layer)):
        followed = (IN, OUT)[axis] if isinstance(layer, _ConvTransposeNd) else (OUT, IN)[axis]
    return ParameterCount(records, size, path, followed)


def _is_plain(layer: nn.Module | None) -> bool:
    """Whether it is a convolution in which every output reads every input."""
    return isinstance(layer, _ConvNd) and layer.groups == 1


def are_parameters(*values: Any) -> bool:
    """Whether all of these are parameters or buffers of the model, or None."""
    for value in values:  # not `all(...)`: a generator would be made for every layer
        if value is not None and not (type(value) is TracedTensor and value.source):
            return False
    return True


def source_of(parameter: TracedTensor | None) -> str:
    """The path of a parameter or buffer; "" for None."""
    return "" if parameter is None else parameter.source


def inputs_along(input: TracedTensor, axis: int) -> ChannelState:
    """The channels along `axis`, as 1-D arrays; where they are not known, new ones that must stay."""
    records, size, channels = input.records, input.shape[axis], channels_of(input)
    vectors = None if channels is None else channels.as_vectors(axis, size)
    if vectors is not None:
        return vectors
    if channels is not None:
        reason = f"they do not lie along one axis at {records.source_line()}"
        records.mark_unprunable(channels.labels, reason)
    return ChannelState.without_values(new_unprunable(records, size, input.why))


def new_unprunable(records: TraceRecords, count: int, reason: str) -> Ints:
    """New labels of channels that must stay."""
    labels = records.new_labels(count)
    records.mark_unprunable(labels, reason)
    return labels


def outputs_along(
    input: TracedTensor,
    shape: tuple[int, ...],
    axis: int,
    channels: ChannelState,
    bias: TracedTensor | None = None,
) -> TracedTensor:
    """A tensor with these channels, given as 1-D arrays, along `axis`; `bias` has the same channels."""
    records, size = input.records, shape[axis]
    if bias is not None:
        records.tie_axis(bias.source, 0, channels.labels)
    if size == 1:
        records.mark_unprunable(channels.labels, "it is the only channel")
        records.uncompensated_sources.extend(channels.conv_sources)
        return make(input, None, shape)
    sizes = (1,) * axis + (size,) + (1,) * (len(shape) - axis - 1)
    return make(input, channels.rearranged(lambda vector: vector.reshape(sizes)), shape)
