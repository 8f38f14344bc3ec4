"""Locks, threads, files, generators: what cannot be copied with a network is the same object in its copy."""

from __future__ import annotations

import copy
import sys
from collections import deque
from typing import Any

from torch import Tensor, nn

__all__ = ["share_what_cannot_be_copied"]

_SHARED_WHOLE = sys.stdlib_module_names | {"torch"}
_BASES_WITHOUT_STATE = {"builtins", "abc", "typing"}
"""The modules of `object`, `ABC`, `Generic` and the like."""


def share_what_cannot_be_copied(value: Any, copies: dict[int, Any], seen: set[int], depth: int = 12) -> None:
    """Add to `copies`, as they are, the innermost values that `deepcopy` refuses.

    Both networks then use the same lock, file or thread. An object of the standard library, or of a class
    that is derived from one of its classes, is shared as a whole: a copy of a thread or a queue with the same
    locks would not work. A tensor that is the result of a computation is copied without its history.
    """
    if id(value) in copies or id(value) in seen or isinstance(value, nn.Parameter) or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        copies[id(value)] = value.detach().clone()
        return
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        inner = list(value)
    else:
        looked_into = isinstance(value, nn.Module) or _is_plain_object(value)
        inner = list(getattr(value, "__dict__", {}).values()) if looked_into else []
    if not inner:
        try:
            copy.deepcopy(value, dict(copies))
        except Exception:
            copies[id(value)] = value
    for item in inner:
        share_what_cannot_be_copied(item, copies, seen, depth - 1)


def _is_plain_object(value: Any) -> bool:
    """Whether this is an object of a class of the model's own; the inside of others is not looked at."""
    own, *bases = (kind.__module__.split(".")[0] for kind in type(value).__mro__)
    return own not in _SHARED_WHOLE and _SHARED_WHOLE.isdisjoint(set(bases) - _BASES_WITHOUT_STATE)
