"""Run the functions of registered rules in place of the operations, for a while and in one thread.

Operators of torch.library are replaced by a `TorchFunctionMode`, modules by their attribute `forward`. The
class of a `torch.autograd.Function` gets another `forward` for the time of the run, because it can be called
under any name, such as `relu = MyReLU.apply`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any

from torch import nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from netslim.nn.own_rules import FUNCTIONS, MODULES, OPERATORS, OwnRule

__all__ = ["own_rules", "use_own_rules"]


class _OfThread(threading.local):
    """How many blocks of `own_rules` this thread is in."""

    runs = 0


_HERE = _OfThread()


def own_rules(model: nn.Module | None = None) -> AbstractContextManager[None]:
    """A block in which the registered rules replace their operations, in this thread.

    Args:
        model: modules of it have the attribute `forward` for the time of the block, where there is a rule for
            their class. None: `use_own_rules` has been called.
    """
    return _replaced(model) if OPERATORS or FUNCTIONS or MODULES else nullcontext()


@contextmanager
def _replaced(model: nn.Module | None) -> Iterator[None]:
    changed = [] if model is None else use_own_rules(model)
    _REPLACED_FUNCTIONS.enter()
    _HERE.runs += 1
    try:
        with _ReplaceOperators() if OPERATORS else nullcontext():
            yield
    finally:
        _HERE.runs -= 1
        _REPLACED_FUNCTIONS.leave()
        for module in changed:
            vars(module).pop("forward", None)


def use_own_rules(model: nn.Module) -> list[nn.Module]:
    """Give the modules with a rule for their class a `forward` that uses it, in blocks of `own_rules`.

    Returns:
        These modules.
    """
    changed = []
    for module in model.modules() if MODULES else ():
        if "forward" not in vars(module) and _rule_of(type(module)) is not None:
            vars(module)["forward"] = MethodType(_forward, module)
            changed.append(module)
    return changed


def _rule_of(kind: type[nn.Module]) -> OwnRule | None:
    """The rule of a class, or the one of the class that it has its `forward` from."""
    for base in kind.__mro__:
        if base in MODULES:
            return MODULES[base] if kind.forward is base.forward else None
    return None


def _forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """`forward` of a module whose class has a rule. (The name `self` is what the trace looks for.)"""
    rule = _rule_of(type(self)) if _HERE.runs else None
    if rule is None:
        return type(self).forward(self, *args, **kwargs)
    return rule(self, *args, **kwargs)


class _ReplaceOperators(TorchFunctionMode):
    """Calls the functions of rules in place of operators."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = OPERATORS.get(getattr(func, "overloadpacket", func))
        if rule is None:
            return func(*args, **(kwargs or {}))
        with self:  # also in the function of the rule
            return rule(*args, **(kwargs or {}))


class _ReplacedFunctions:
    """The classes of autograd.Function with another `forward`, as long as a run of any thread needs it.

    In threads without such a run it calls the original.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._originals: dict[type[Function], dict[str, Any]] = {}

    def enter(self) -> None:
        with self._lock:
            self._runs += 1
            for kind in FUNCTIONS.keys() - self._originals.keys():
                own = vars(kind)
                takes_context = kind.setup_context is Function.setup_context
                replaced = {"forward": _following(kind, kind.forward, skip=int(takes_context))}
                if not takes_context:  # torch calls it after `forward`
                    replaced["setup_context"] = _unless_following(kind.setup_context)
                self._originals[kind] = {name: own.get(name) for name in replaced}
                for name, function in replaced.items():
                    setattr(kind, name, staticmethod(function))

    def leave(self) -> None:
        with self._lock:
            self._runs -= 1
            while self._originals and not self._runs:
                kind, originals = self._originals.popitem()
                for name, original in originals.items():
                    if original is not None:
                        setattr(kind, name, original)
                    else:
                        delattr(kind, name)


_REPLACED_FUNCTIONS = _ReplacedFunctions()


def _following(kind: type[Function], original: Callable[..., Any], skip: int) -> Callable[..., Any]:
    def forward(*args: Any) -> Any:
        return FUNCTIONS[kind](*args[skip:]) if _HERE.runs else original(*args)

    return forward


def _unless_following(original: Callable[..., Any]) -> Callable[..., Any]:
    def setup_context(*args: Any, **kwargs: Any) -> Any:
        return None if _HERE.runs else original(*args, **kwargs)

    return setup_context
