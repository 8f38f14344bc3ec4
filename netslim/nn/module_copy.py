"""Copies of a module tree with other tensors in it: the modules are copied, the weights never twice."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ModuleIndex", "copy_module"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Hooks belong to what the original is used for, so a copy has none. (Those of the state dict are kept.)"""

_EMPTIED = (
    *_HOOKS,
    *("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called"),
)
_STANDARD = {"training", "_is_full_backward_hook", "_parameters", "_buffers", "_modules", *_EMPTIED}
"""The attributes of every module that are known without a look; the others are looked at one by one."""

_EMPTY = {dict, OrderedDict, set, list}
_SHARED = {int, float, bool, str, complex, bytes, NoneType, type, FunctionType, BuiltinFunctionType}
_SHARED |= {torch.dtype, torch.device, torch.Size}


@dataclass(frozen=True, eq=False)
class ModuleIndex:
    """A network and what it is made of, found in one walk.

    Args:
        modules: all modules by path, itself first.
        tensors: the parameters and buffers by path, shared ones once, parameters first.
    """

    model: nn.Module
    modules: Mapping[str, nn.Module]
    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> ModuleIndex:
        modules = dict(model.named_modules())
        seen: set[int] = set()
        tensors: dict[str, Tensor] = {}
        for kind in ("_parameters", "_buffers"):
            for path, module in modules.items():
                for name, tensor in vars(module)[kind].items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        tensors[f"{path}.{name}" if path else name] = tensor
        return cls(model, modules, tensors)

    def hooks(self) -> int:
        """How many hooks its modules have."""
        owns = [vars(module) for module in self.modules.values()]
        return sum(len(own[name]) for name in _HOOKS for own in owns if own.get(name))


def copy_module(tree: ModuleIndex, copies: dict[int, Any]) -> nn.Module:
    """A copy of a network without hooks.

    Args:
        copies: by id of each of its parameters and buffers, what takes its place. Tensors that it keeps
            elsewhere are copied. The modules' copies are put in as well.
    """
    return _Twin(tree.modules.values(), copies).of(tree.model)


class _Twin:
    """`copy.deepcopy` for modules, many times as fast; what is not a plain module is left to it."""

    def __init__(self, modules: Iterable[nn.Module], copies: dict[int, Any]) -> None:
        self.modules, self.copies, self.ready = modules, copies, False

    def of(self, module: nn.Module) -> nn.Module:
        """The copy of one module and all below it."""
        copies, kind = self.copies, type(module)
        if id(module) in copies:
            done: nn.Module = copies[id(module)]
            return done
        if hasattr(kind, "__deepcopy__") or kind.__getstate__ is not nn.Module.__getstate__:
            done = self.deep(module)
            places = dict(done.named_modules())
            copies |= {id(inner): places[path] for path, inner in module.named_modules() if path in places}
            return done
        result = copies[id(module)] = kind.__new__(kind)
        own, state = vars(module), vars(result)
        state.update(own)  # what is not replaced below is shared
        state.pop("_compiled_call_impl", None)
        for name in _EMPTIED:
            state[name] = OrderedDict()
        for name, value in own.items():
            sort = type(value)
            if name in _STANDARD or sort in _SHARED:
                continue
            if sort in _EMPTY and not value:
                state[name] = sort()
            elif sort is not tuple or not _SHARED.issuperset(map(type, value)):
                state[name] = self.deep(value)
        for name in ("_parameters", "_buffers"):
            held = own[name].items()
            state[name] = {key: None if value is None else copies[id(value)] for key, value in held}
        children = own["_modules"].items()
        state["_modules"] = {key: None if child is None else self.of(child) for key, child in children}
        return result

    def deep(self, value: Any) -> Any:
        """A copy of anything. Tensors that modules hold go first: deepcopy refuses computed ones."""
        if not self.ready:
            self.ready = True
            for module in self.modules:
                for name, held in vars(module).items():
                    if name not in _STANDARD and isinstance(held, Tensor):
                        self.copies[id(held)] = held.detach().clone()
        return copy.deepcopy(value, self.copies)
