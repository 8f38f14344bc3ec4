"""Tensors without data that know their channels: running a network on them reads its dependencies.

Every torch operation on a `Traced` tensor comes here first, whoever calls it. If there is a rule for it, the
rule says what becomes of the channels. If there is none, or the rule cannot prove what it needs, the channels
are frozen and the reason names the operation and the line. Nothing is computed and nothing is guessed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints
from netslim.dependency.records import NormLayer, TraceRecords
from netslim.dependency.symbolic_size import Count
from netslim.errors import ModelError

__all__ = ["Mode", "Traced", "channels_of", "made", "rule", "shape_of", "size_of", "unknown"]


class Traced(Tensor):
    """A tensor of the network, or one of its parameters and buffers.

    Attributes:
        channels: what is known of its channels; None for nothing, and then `why` says why.
        source: the path of the parameter or buffer that it is; "" for any other tensor.
        memory: what it shares with its views.
        made_by: the BatchNorm whose output it is.
        selected: if `netslim.nn.channel_select` made it, the labels selected from and the channels read.
    """

    records: TraceRecords
    why: str
    source: str
    memory: Memory
    channels: ChannelState | None = None
    made_by: NormLayer | None = None
    selected: tuple[Ints, Ints] | None = None

    @staticmethod
    def __new__(
        cls, shape: Iterable[int], dtype: torch.dtype, records: TraceRecords, why: str = "", source: str = ""
    ) -> Traced:
        self: Traced = Tensor._make_wrapper_subclass(cls, tuple(shape), dtype=dtype, device=_META)
        self.records, self.why, self.source, self.memory = records, why, source, Memory()
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            return _dispatch(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise ModelError(f"{func} reads the network's tensors behind torch's back", field="model")


class Memory:
    """What a tensor shares with its views: a change through one of them makes the others unknown."""

    __slots__ = ("changed", "heirs", "shared")

    def __init__(self) -> None:
        self.shared = False
        self.changed = False
        self.heirs: tuple[Memory, ...] = ()

    def change(self) -> None:
        self.changed = True
        for heir in self.heirs:
            heir.change()

    def written(self) -> Memory:
        """The memory of the tensor that an operation in place has just written to."""
        if not self.shared and not self.changed:
            return self
        self.change()
        heir = Memory()
        self.heirs = (*self.heirs, heir)
        return heir


class Mode:
    """A module's `training` flag that notices when the model's own code decides by it."""

    def __init__(self, training: bool, records: TraceRecords) -> None:
        self.training, self.records = training, records

    def __bool__(self) -> bool:
        self.records.depends_on_mode = True
        return self.training


@dataclass(frozen=True)
class Rule:
    """How one operation treats channels.

    Args:
        apply: called with the operation and its own arguments; returns what the operation returns.
        names: the argument names that `apply` understands, None for any; others make it unknown.
        counts: it understands channel counts among its arguments.
        linear: a constant added to its input is added to its output, so an offset passes through.
        view: its result lies in its input's memory.
        writes: it is done in place.
        inplace: where among its arguments a flag stands that says so.
    """

    apply: Callable[..., Any]
    names: frozenset[str] | None
    counts: bool = False
    linear: bool = False
    view: bool = False
    writes: bool = False
    inplace: int | None = None


_RULES: dict[Any, Rule] = {}
_HOMES = (torch, torch.nn.functional, Tensor)
_META = torch.device("meta")


def rule(
    *operations: Any, counts: bool = False, linear: bool = False, view: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a rule for operations, each given as a function or as its name in torch, F and Tensor."""

    def register(apply: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(apply).parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = None if open_ended else frozenset(parameters)
        for operation in operations:
            for function in _functions(operation):
                flag = _flag_position(function)
                _RULES[function] = Rule(apply, names, counts, linear, view, _writes(function), flag)
        return apply

    return register


def _functions(operation: Any) -> list[Any]:
    """The functions, methods and properties of that name."""
    if not isinstance(operation, str):
        return [operation]
    named = [getattr(home, operation, None) for home in _HOMES]
    found = [f if callable(f) else getattr(f, "__get__", None) for f in named]
    assert any(found), operation
    return [f for f in found if f]


def _flag_position(function: Any) -> int | None:
    try:
        return list(inspect.signature(function).parameters).index("inplace")
    except (TypeError, ValueError):
        return None


def made(
    like: Traced,
    channels: ChannelState | None,
    shape: Iterable[int] | None = None,
    *,
    dtype: torch.dtype | None = None,
    why: str = "",
) -> Traced:
    """A new tensor of the network, by default of the shape and type of `like`."""
    result = Traced(
        like.shape if shape is None else shape, dtype or like.dtype, like.records, why or like.why
    )
    result.channels = channels
    return result


def channels_of(tensor: Traced) -> ChannelState | None:
    """What is known of a tensor's channels. A vector among the parameters has one channel per value."""
    records, path = tensor.records, tensor.source
    if tensor.channels is None and path and tensor.dim() and max(tensor.shape) == tensor.numel() > 1:
        axis = int(np.argmax(tensor.shape))
        values = records.values_of(path)
        return ChannelState(
            records.axis_labels(path, axis, tensor.numel()).reshape(values.shape), values, values
        )
    return tensor.channels


def unknown(func: Any, args: Any, kwargs: Any, reason: str = "") -> Any:
    """Freeze all channels that go in; what comes out has the right shapes and no known channels."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Traced)]
    records = tensors[0].records
    told = f"{reason or _name(func)} at {records.source_line()}"
    for tensor in tensors:
        if tensor.source:
            records.keep_whole(tensor.source, told)
        if tensor.channels is not None:
            records.mark_unprunable(tensor.channels.labels, told)
    return tree_map_only(
        Tensor, lambda value: Traced(value.shape, value.dtype, records, told), shape_of(func, args, kwargs)
    )


def shape_of(func: Any, args: Any, kwargs: Any) -> Any:
    """What `func` returns on the meta device, where tensors have a shape and no data."""
    try:
        return func(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})
    except Exception as error:
        records = next(value.records for value in tree_leaves((args, kwargs)) if isinstance(value, Traced))
        where = f"{_name(func)} at {records.source_line()}"
        raise ModelError(
            f"the forward pass cannot be followed without data: {where} ({error})",
            field="model",
            remedy="Let shapes alone decide what it does, or slim the parts around it",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    if isinstance(value, Mode):
        return value.training
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value))
    return int(value) if isinstance(value, Count) else value


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", func))


def _dispatch(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    attribute = _ATTRIBUTES.get(func)
    if attribute is not None:
        return attribute(*args, **kwargs)
    found = _RULES.get(func)
    if found is None or (found.names is not None and not kwargs.keys() <= found.names):
        found = _unknown_rule(func)
    tensors: list[Traced] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        for item in value if type(value) in (tuple, list) else (value,):
            kind = type(item)  # isinstance takes several times as long where a class is a tensor's
            if kind is Traced:
                tensors.append(item)
                if item.memory.changed:
                    _forget(item)
            elif kind is Count and not found.counts:
                item.mark_unprunable()
    result = found.apply(func, *args, **kwargs)
    outs = result if isinstance(result, (tuple, list)) else (result,)
    if not found.linear or any(out.channels is None for out in outs):
        _leak(tensors)
    if found.view:
        tensors[0].memory.shared = True
        for out in outs:
            out.memory = tensors[0].memory
    if found.writes or (found.inplace is not None and _flag(found.inplace, args, kwargs)):
        return _write(tensors[0], result, func)
    return result


def _unknown_rule(func: Any) -> Rule:
    def apply(func: Any, *args: Any, **kwargs: Any) -> Any:
        return unknown(func, args, kwargs)

    return Rule(apply, None, writes=_writes(func))


def _writes(func: Any) -> bool:
    """Whether an operation changes its first argument, by its name."""
    name = _name(func)
    if name.startswith("__"):
        return name == "__setitem__" or (
            name[2] == "i" and name not in ("__invert__", "__index__", "__int__")
        )
    return name.endswith("_")


def _flag(position: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return bool(kwargs["inplace"] if "inplace" in kwargs else len(args) > position and args[position])


def _write(target: Traced, result: Any, func: Any) -> Traced:
    """The operation was done in place: its result is the tensor it was given."""
    target.channels = result.channels if isinstance(result, Traced) else None
    target.memory = target.memory.written()
    if target.source:
        target.records.keep_whole(
            target.source, f"{_name(func)} writes to it at {target.records.source_line()}"
        )
    return target


def _forget(tensor: Traced) -> None:
    """The tensor was changed through a view: what it holds now is not known."""
    if tensor.channels is not None:
        tensor.records.mark_unprunable(
            tensor.channels.labels, f"changed through a view at {tensor.records.source_line()}"
        )
        tensor.channels = tensor.channels.unknown()


def _leak(tensors: list[Traced]) -> None:
    """Where an offset does not simply pass through, the layers behind it have to add it themselves."""
    for tensor in tensors:
        if tensor.channels is not None and tensor.channels.conv_sources:
            tensor.records.uncompensated_sources.extend(tensor.channels.conv_sources)


class Shape(tuple[Any, ...]):
    """A shape whose channel counts remember what they count."""

    def numel(self) -> int:
        return math.prod(self)


def size_of(tensor: Traced, dim: int | None = None) -> Any:
    """The shape; counts of channels in it know what they count."""
    channels, shape = tensor.channels, tuple(tensor.shape)
    if channels is not None and not tensor.memory.changed:
        shape = tuple(
            Count(tensor.records, np.ravel(channels.labels)) if channels.lie_along(axis, size) else size
            for axis, size in enumerate(shape)
        )
    return Shape(shape) if dim is None else shape[dim]


def _harmless(*names: str) -> dict[Any, Callable[..., Any]]:
    """What a tensor tells of itself that does not depend on its channels: methods and properties."""
    found = (getattr(Tensor, name) for name in names)
    functions = [f if callable(f) else f.__get__ for f in found]
    return dict(zip(functions, functions, strict=True))


_ATTRIBUTES: dict[Any, Callable[..., Any]] = {
    **_harmless(
        "ndim", "dtype", "device", "layout", "requires_grad", "is_leaf", "is_cuda", "is_meta", "is_sparse"
    ),
    **_harmless("is_quantized", "is_mkldnn", "grad_fn", "grad", "is_cpu", "is_mps", "is_nested"),
    **_harmless(
        "dim", "ndimension", "is_floating_point", "is_complex", "element_size", "get_device", "__hash__"
    ),
    **_harmless("is_contiguous", "__repr__", "__format__"),
    Tensor.__len__: lambda tensor: size_of(tensor, 0),
    Tensor.numel: lambda tensor: size_of(tensor).numel(),
    Tensor.nelement: lambda tensor: size_of(tensor).numel(),
    Tensor.shape.__get__: size_of,  # type: ignore[attr-defined]
    Tensor.size: size_of,
}
