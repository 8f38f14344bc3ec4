"""Tensors without data that keep the state of their channels: a network that runs on them is traced.

Every torch operation on a `TracedTensor` is passed to `follow_call`. If the operation has a rule, the rule
gives the channels of its result. If it has none, or the rule cannot prove that the channels may be removed,
they are marked as unprunable, and the reason names the operation and the line. No values are computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from netslim.dependency.attribute_sizes import AttributeSize
from netslim.dependency.call_log import AT_END, CallLog
from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.records import TraceRecords
from netslim.dependency.rule import Rule, name_of
from netslim.dependency.symbolic_size import ChannelCount, ParameterCount
from netslim.errors import ModelError
from netslim.nn._torch import DisableTorchFunctionSubclass, tensor_without_data, tree_leaves

__all__ = ["FollowCalls", "Memory", "TracedTensor", "follow_call", "require_own_corrections"]


class TracedTensor(Tensor):
    """A tensor of the network, or one of its parameters and buffers.

    Attributes:
        records: the records of the trace.
        why: the reason why nothing is known of its channels; only used if `channels` is None.
        source: the path of the parameter or buffer that it is; "" for any other tensor.
        memory: what it shares with its views.
        channels: the state of its channels; None if nothing is known of them.
        norm_path: the path of the weight of the BatchNorm whose output it is; "" for any other tensor.
        selected: if a channel select made it, the labels that it selected from and the indices that it read.
    """

    records: TraceRecords
    why: str
    source: str
    memory: Memory
    channels: ChannelState | None = None
    norm_path: str = ""
    selected: tuple[Ints, Ints] | None = None

    @staticmethod
    def __new__(
        cls, shape: Iterable[int], dtype: torch.dtype, records: TraceRecords, why: str = "", source: str = ""
    ) -> TracedTensor:
        self = tensor_without_data(cls, shape, dtype)
        self.records, self.why, self.source, self.memory = records, why, source, Memory()
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with DisableTorchFunctionSubclass():
            return follow_call(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        problem = f"{func} reads the network's tensors without a call of torch's functions"
        raise ModelError(problem, field="model")


class Memory:
    """The memory that a tensor shares with its views.

    A change through one view changes the others in a way that is not followed: their memory becomes stale.

    Attributes:
        shared: a view of the tensor was made.
        stale: another view was written to.
        views: the memories of the views that were written to later.
    """

    __slots__ = ("shared", "stale", "views")

    def __init__(self) -> None:
        self.shared = False
        self.stale = False
        self.views: tuple[Memory, ...] = ()

    def make_stale(self) -> None:
        """All tensors with this memory, and those written to since, hold values that are not known."""
        self.stale = True
        for view in self.views:
            view.make_stale()

    def after_write(self) -> Memory:
        """The memory of the tensor through which an operation in place has just written."""
        if not self.shared and not self.stale:
            return self
        self.make_stale()
        written = Memory()
        self.views = (*self.views, written)
        return written


class FollowCalls(TorchFunctionMode):
    """While it is active, every call of torch is followed, also those that take no tensor of the network.

    Args:
        log: calls are added to it; if it `repeats`, they are compared with it, and its results are returned.
    """

    def __init__(self, records: TraceRecords, log: CallLog) -> None:
        super().__init__()
        self.records, self.log = records, log

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and args[0] is self.records.batch_counter:  # BatchNorm counts in train mode only
            return func(*args, **kwargs)
        if self.log.repeats:
            result = self.log.next_result(func, args, kwargs)
            if result is not AT_END:
                return result
        with DisableTorchFunctionSubclass():
            tensors, counts = _operands(args, kwargs)
            rules = self.records.rules
            if not tensors:
                result = rules.make_plain(self.records, func, args, kwargs)
                self.log.add((func, args, kwargs, result, False))
                return result
            rule = rules.find(func, kwargs)
            result = _apply(rule, func, args, kwargs, tensors, counts)
            self.log.add((func, args, kwargs, result, rule.any_mode))
        return result


def follow_call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Follow an operation on traced tensors without a log."""
    tensors, counts = _operands(args, kwargs)
    return _apply(tensors[0].records.rules.find(func, kwargs), func, args, kwargs, tensors, counts)


def _apply(
    rule: Rule,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    tensors: list[TracedTensor],
    counts: list[ChannelCount | AttributeSize],
) -> Any:
    """Apply the rule of one operation, and record what follows for the tensors that went in."""
    if rule.is_query:
        return rule.apply(func, *args, **kwargs)
    for tensor in tensors:
        if tensor.memory.stale:
            _forget_values(tensor, tensor.records)
    if not rule.accepts_counts:
        for count in counts:
            count.mark_unprunable()
    result = rule.apply(func, *args, **kwargs)
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    if not rule.keeps_offsets or any(output.channels is None for output in outputs):
        require_own_corrections(tensors)
    if rule.returns_view:
        _share_memory(tensors[0], outputs)
    if rule.writes_in_place(args, kwargs):
        return _write_in_place(tensors[0], result, func)
    return result


def _operands(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[list[TracedTensor], list[ChannelCount | AttributeSize]]:
    """The traced tensors and the channel counts among the arguments, also those in a list or tuple."""
    tensors: list[TracedTensor] = []
    counts: list[ChannelCount | AttributeSize] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        for item in value if type(value) in (tuple, list) else (value,):
            kind = type(item)  # isinstance takes several times as long for a subclass of Tensor
            if kind is TracedTensor:
                tensors.append(item)
            elif kind is ChannelCount or kind is ParameterCount or kind is AttributeSize:
                counts.append(item)
    if not tensors:  # they lie deeper in the arguments
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, TracedTensor)]
    return tensors, counts


def _forget_values(tensor: TracedTensor, records: TraceRecords) -> None:
    """The tensor was changed through a view, so its values are not known."""
    if tensor.channels is not None:
        labels = tensor.channels.labels
        records.mark_unprunable(labels, f"changed through a view at {records.source_line()}")
        tensor.channels = ChannelState.without_values(labels)


def require_own_corrections(tensors: Iterable[TracedTensor]) -> None:
    """An offset does not pass through this operation, so no BatchNorm behind it can correct these tensors."""
    for tensor in tensors:
        if tensor.channels is not None and tensor.channels.conv_sources:
            tensor.records.uncompensated_sources.extend(tensor.channels.conv_sources)


def _share_memory(tensor: TracedTensor, views: Iterable[TracedTensor]) -> None:
    tensor.memory.shared = True
    for view in views:
        view.memory = tensor.memory


def _write_in_place(target: TracedTensor, result: Any, func: Any) -> TracedTensor:
    """The operation worked in place: its first argument gets the channels of the result, and is returned."""
    records = target.records
    if isinstance(result, TracedTensor):
        target.channels, target.why = result.channels, result.why
    else:  # `x[index] = value` returns None
        target.channels, target.why = None, f"{name_of(func)} at {records.source_line()}"
    target.memory = target.memory.after_write()
    if target.source:
        records.keep_whole(target.source, f"{name_of(func)} writes to it at {records.source_line()}")
    return target
