"""A rule is how the trace treats one operation; a rule table finds the rule of an operation.

Each module of `netslim.dependency.rules` has a `RuleSet`, and `netslim.dependency.rules` joins them to one
`RuleTable`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rule", "RuleSet", "RuleTable", "name_of"]

_NAMESPACES = (torch, torch.nn.functional, Tensor)


@dataclass(frozen=True)
class Rule:
    """How one operation treats channels.

    Args:
        apply: called with the operation and its arguments; returns what the operation returns.
        keywords: the keyword arguments that `apply` takes, None for any. A call with others has no rule.
        is_query: the operation reads no values (such as `dim` or `shape`), so nothing has to be recorded.
        accepts_counts: `apply` follows channel counts among the arguments. Else they are used as numbers.
        keeps_offsets: a constant that is added to the input is added to the output as well.
        returns_view: the output shares the memory of the first tensor.
        any_mode: the mode may change the arguments that are not tensors, and changes no dependency.
        writes: the operation always changes its first argument.
        inplace_position: the position of an argument `inplace`; None if there is none.
    """

    apply: Callable[..., Any]
    keywords: frozenset[str] | None = None
    is_query: bool = False
    accepts_counts: bool = False
    keeps_offsets: bool = False
    returns_view: bool = False
    any_mode: bool = False
    writes: bool = False
    inplace_position: int | None = None

    def takes(self, keywords: Iterable[str]) -> bool:
        """Whether `apply` takes these keyword arguments."""
        return self.keywords is None or self.keywords.issuperset(keywords)

    def writes_in_place(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether this call changes its first argument."""
        if self.writes or self.inplace_position is None:
            return self.writes
        position = self.inplace_position
        return bool(kwargs["inplace"] if "inplace" in kwargs else len(args) > position and args[position])

    def of(self, function: Any) -> Rule:
        """This rule for one function, which may work in place."""
        return replace(self, writes=_writes(function), inplace_position=_inplace_position(function))


class RuleSet(dict[Any, Rule]):
    """The rules of one module, by function of torch."""

    def register(
        self,
        *operations: Any,
        is_query: bool = False,
        accepts_counts: bool = False,
        keeps_offsets: bool = False,
        returns_view: bool = False,
        any_mode: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add the decorated function as the rule of some operations; for the flags, see `Rule`.

        Args:
            operations: functions, or names. A name stands for all functions, methods and properties of that
                name in torch, torch.nn.functional and Tensor.
        """

        def add(apply: Callable[..., Any]) -> Callable[..., Any]:
            keywords = _keywords(apply)
            rule = Rule(apply, keywords, is_query, accepts_counts, keeps_offsets, returns_view, any_mode)
            for operation in operations:
                for function in _functions(operation):
                    self[function] = rule.of(function)
            return apply

        return add


class RuleTable:
    """All rules, and what is done with an operation that has none.

    Args:
        rules: the rule sets. No two of them have a rule for the same function.
        fallback: `apply` for every other operation.
        make_plain: called with the records and a call that takes no tensor of the network.
    """

    def __init__(self, *rules: RuleSet, fallback: Callable[..., Any], make_plain: Callable[..., Any]) -> None:
        self._rules = {function: rule for part in rules for function, rule in part.items()}
        if len(self._rules) != sum(map(len, rules)):
            raise ValueError("two rule sets have a rule for the same function")
        self._fallback = Rule(fallback)
        self.make_plain = make_plain

    def find(self, function: Any, keywords: Iterable[str] = ()) -> Rule:
        """The rule of a function that is called with these keyword arguments."""
        rule = self._rules.get(function)
        if rule is not None and (not keywords or rule.takes(keywords)):
            return rule
        return self._fallback.of(function)


def name_of(function: Any) -> str:
    """The name of an operation, for messages."""
    return str(getattr(function, "__name__", function))


def _keywords(apply: Callable[..., Any]) -> frozenset[str] | None:
    parameters = inspect.signature(apply).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if open_ended else frozenset(parameters)


def _functions(operation: Any) -> list[Any]:
    """The functions and methods of that name, and the `__get__` of a property of that name."""
    if not isinstance(operation, str):
        return [operation]
    named = [getattr(namespace, operation, None) for namespace in _NAMESPACES]
    functions = [item if callable(item) else getattr(item, "__get__", None) for item in named]
    if not any(functions):
        raise ValueError(f"torch has no operation {operation!r}")
    return [function for function in functions if function]


def _writes(function: Any) -> bool:
    """Whether an operation changes its first argument, by its name: `add_`, `__iadd__`, `__setitem__`."""
    name = name_of(function)
    if name.startswith("__"):
        return name == "__setitem__" or (
            name[2] == "i" and name not in ("__invert__", "__index__", "__int__")
        )
    return name.endswith("_")


def _inplace_position(function: Any) -> int | None:
    try:
        return list(inspect.signature(function).parameters).index("inplace")
    except (TypeError, ValueError):
        return None
