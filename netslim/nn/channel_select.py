"""The paper's channel selection layer (section 3), and its inverse.

A tensor that several layers share (a residual stream) keeps every channel that one of them needs. A BatchNorm
that needs fewer channels *selects* them first, so its own scaling factors can be pruned. A BatchNorm that
computes fewer channels *places* them in the wider tensor.

Such a BatchNorm gets a subclass of its own class, made here: `isinstance`, its attributes and the names of
its state are those that the model's code expects. (A module around it would hide all of them.)
"""

# Without `from __future__ import annotations`: torch.jit.script reads no annotation that is a string.
from collections.abc import Mapping, Sequence
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

__all__ = [
    "ChannelSelect",
    "add_channel_select",
    "names_without_wrapper",
    "place",
    "remove_channel_select",
    "select",
    "type_of",
]

T = TypeVar("T")


class ChannelSelect(nn.Module):
    """A BatchNorm that reads some channels of its input, or writes to some channels of its output.

    `add_channel_select` makes one. In ONNX it is one Gather for `reads`, and Pad and Gather (and Add, with
    constants) for `sources`.

    Attributes:
        reads: int64[k], the channels of the input that are normalised, in order; None for all.
        sources: int64[width], for each channel of the output its channel among the normalised ones; k for
            none. None if the output is the same.
        fill: [width], a constant that is added to each channel of the output, or None. A channel without a
            source has nothing else: it is the value that the channel had before it was pruned.
        base_class: the class of the BatchNorm.
    """

    reads: Tensor | None
    sources: Tensor | None
    fill: Tensor | None
    base_class: type[nn.Module]

    def forward(self, x: Tensor) -> Tensor:
        reads, sources = self.reads, self.sources  # torch.jit.script narrows the types of variables only
        if reads is not None:
            x = select(x, reads)
        x = self.normalise(x)
        if sources is not None:
            x = place(x, sources, self.fill)
        return x

    def normalise(self, x: Tensor) -> Tensor:
        """The forward pass of `base_class`."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[Any, ...]:
        return _new, (self.base_class,), self.__dict__  # pickle does not find a class that was made here

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        _rename(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def add_channel_select(
    norm: nn.Module,
    reads: Sequence[int] | None = None,
    places: Sequence[int] | None = None,
    width: int = 0,
    fill: Tensor | None = None,
) -> None:
    """Make a BatchNorm read or write only some channels, in place; an earlier selection is replaced.

    Args:
        norm: it gets a subclass of its class, with the same state and `fill` as a buffer.
        reads: the channels of the input that it gets, in order; None for all.
        places: for each of its channels, the channel in the output; None if the output is the same.
        width: the channels of the output, if `places` are given.
        fill: [width], added to the output if `places` are given; None for 0.
    """
    base, like = type_of(norm), norm.get_parameter("weight")
    sources = None
    if places is not None:
        sources = torch.full((width,), len(places))  # the index of the channel of zeros behind the last one
        sources[_indices(places)] = torch.arange(len(places))
    # The plan defines the indices, so they are not in the state dict; the constants come from weights.
    index = None if reads is None else _indices(reads).to(like.device)
    norm.__class__ = _subclass(base)  # type: ignore[arg-type]
    norm.register_buffer("reads", index, persistent=False)
    norm.register_buffer("sources", None if sources is None else sources.to(like.device), persistent=False)
    norm.register_buffer("fill", None if fill is None else fill.to(like))


def _indices(numbers: Sequence[int]) -> Tensor:
    """int64[len(numbers)]; `torch.tensor` looks at each number, and takes twice as long."""
    return torch.from_numpy(np.fromiter(numbers, np.int64, len(numbers)))


def remove_channel_select(norm: nn.Module) -> None:
    """Give a BatchNorm its own class back, in place; nothing is done where no selection was added."""
    if isinstance(norm, ChannelSelect):
        norm.__class__ = norm.base_class  # type: ignore[assignment]
        for name in ("reads", "sources", "fill"):
            delattr(norm, name)


def type_of(module: nn.Module) -> type[nn.Module]:
    """The class of a module, without the channel selection that was added to it."""
    return module.base_class if isinstance(module, ChannelSelect) else type(module)


def names_without_wrapper(model: nn.Module, state: Mapping[str, T]) -> dict[str, T]:
    """A state dict with today's names: in version 0.1.0 a module "bn" with a selection had "bn.layer.weight".

    `load_state_dict` reads these names as well.
    """
    renamed = dict(state)
    for path, module in model.named_modules():
        if isinstance(module, ChannelSelect):
            _rename(renamed, f"{path}.")
    return renamed


def _rename(state: dict[str, Any], prefix: str) -> None:
    old = f"{prefix}layer."
    for name in [name for name in state if name.startswith(old)]:
        state[prefix + name.removeprefix(old)] = state.pop(name)


@cache
def _subclass(base: type[nn.Module]) -> type[nn.Module]:
    # torch.jit.script does not compile super(), and compiles a function under its own name.
    forward = base.forward
    own = (forward.__code__, forward.__globals__, "normalise", forward.__defaults__, forward.__closure__)
    attributes = {"base_class": base, "normalise": FunctionType(*own), "__module__": base.__module__}
    return type(f"ChannelSelect{base.__name__}", (ChannelSelect, base), attributes)


def _new(base: type[nn.Module]) -> nn.Module:
    """A module without state, for pickle and `copy`."""
    kind = _subclass(base)  # type: ignore[arg-type]
    return kind.__new__(kind)


def select(x: Tensor, reads: Tensor) -> Tensor:
    """The channels `reads` (int64[k]) of x (N, C, ...), as (N, k, ...)."""
    if has_torch_function_unary(x):
        return handle_torch_function(select, (x,), x, reads)
    return x.index_select(1, reads)


def place(x: Tensor, sources: Tensor, constants: Tensor | None) -> Tensor:
    """The channels of x (N, k, ...) in a wider tensor (N, width, ...).

    Args:
        sources: int64[width], for each channel of the result its channel in x; k for a channel of zeros.
        constants: [width], added to the channels; None for 0.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(place, (x,), x, sources, constants)
    spatial = x.dim() - 2
    wide = F.pad(x, [0, 0] * spatial + [0, 1]).index_select(1, sources)
    return wide if constants is None else wide + constants.view([-1] + [1] * spatial)
