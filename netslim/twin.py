"""Copies of a module tree with other tensors in it: the modules are copied, the weights never twice."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["HOOKS", "tensors_of", "twin"]

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Hooks belong to what the original is used for, so a copy has none. (Those of the state dict are kept.)"""

_OPTIONS = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
_SHARED = {int, float, bool, str, complex, bytes, NoneType, type, FunctionType, BuiltinFunctionType}
_EMPTY = {dict, OrderedDict, set, list}
_SHARED |= {torch.dtype, torch.device, torch.Size}


def tensors_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The parameters and buffers of named modules by path, shared ones once, parameters first."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for kind in ("_parameters", "_buffers"):
        for path, module in modules.items():
            for name, tensor in vars(module)[kind].items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{path}.{name}" if path else name] = tensor
    return found


def twin(model: nn.Module, tensors: Mapping[int, Any]) -> nn.Module:
    """A copy of `model` without hooks.

    Args:
        tensors: by id of each of its parameters and buffers, what takes its place. Tensors that it keeps
            elsewhere are copied.
    """
    memo = dict(tensors)
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor):  # deepcopy refuses computed tensors
                memo[id(value)] = value.detach().clone()
    return _twin(model, memo)


def _twin(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """`copy.deepcopy` for modules, several times as fast; what is not a plain module is left to it."""
    if id(module) in memo:
        done: nn.Module = memo[id(module)]
        return done
    kind = type(module)
    if hasattr(kind, "__deepcopy__") or kind.__getstate__ is not nn.Module.__getstate__:
        return copy.deepcopy(module, memo)
    result = memo[id(module)] = kind.__new__(kind)
    state = vars(result)
    for name, value in module.__getstate__().items():  # type: ignore[no-untyped-call]
        if name in ("_parameters", "_buffers"):
            state[name] = {key: None if tensor is None else memo[id(tensor)] for key, tensor in value.items()}
        elif name == "_modules":
            state[name] = {key: None if child is None else _twin(child, memo) for key, child in value.items()}
        elif name in HOOKS or name in _OPTIONS or (not value and type(value) in _EMPTY):
            state[name] = type(value)()
        elif type(value) in _SHARED or (type(value) is tuple and _SHARED.issuperset(map(type, value))):
            state[name] = value
        else:
            state[name] = copy.deepcopy(value, memo)
    return result
