"""Rules for operations of the user's own: a function of plain PyTorch operations runs in their place.

It does so only while a network is traced, run on shapes or counted; see `netslim.nn.follow_rules`. The trace
follows the operations of the function, so a rule needs nothing of netslim.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import handle_torch_function, has_torch_function_unary

from netslim.errors import ConfigError, ModelError, NetslimError, first_line
from netslim.nn._torch import operator_of, tree_map_only

__all__ = [
    "FUNCTIONS",
    "MODULES",
    "OPERATORS",
    "OwnRule",
    "inside_own_rule",
    "operand",
    "register_rule",
    "registered_rules",
]


@dataclass(frozen=True)
class OwnRule:
    """A function that runs in place of an operation, and the line that registered it."""

    name: str
    like: Callable[..., Any]
    exact: bool
    line: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda value: operand(value, self.exact), (args, kwargs))
        _HERE.rules += 1
        try:
            return self.like(*args, **kwargs)
        except NetslimError:
            raise
        except Exception as error:
            reason = type(error).__name__ + (f": {first_line(error)}" if str(error) else "")
            problem = f"the function that register_rule was given for it at {self.line} fails ({reason})"
            remedy = "Let it take the arguments of the operation, and call operations of PyTorch only"
            raise ModelError(problem, field=self.name, remedy=remedy) from error
        finally:
            _HERE.rules -= 1


class _OfThread(threading.local):
    """How many functions of rules are running in this thread, one inside of the other."""

    rules = 0


_HERE = _OfThread()
OPERATORS: dict[Any, OwnRule] = {}
FUNCTIONS: dict[type[Function], OwnRule] = {}
MODULES: dict[type[nn.Module], OwnRule] = {}
_OF_TORCH = ("aten.", "prim.", "prims.")


def register_rule(operation: Any, like: Callable[..., Any], *, exact: bool = True) -> None:
    """Tell netslim how an operation of your own treats channels: as `like`, a function of PyTorch operations.

    Pruning then runs `like` in its place wherever it follows or counts the network. `like` computes the same
    shapes, and each of its outputs depends on the same channels and on the same parameters. Its values may be
    others; but a channel that holds one value everywhere must have the same effect, so that bias compensation
    stays right. The slim network calls the operation itself.

        netslim.register_rule(torch.ops.mine.gem_pool, lambda x, p: x.clamp(min=1e-6).mean((2, 3)))

    An operation that is registered a second time gets the new rule. Rules hold in this process: register them
    where the operation is defined, so that every process that builds the network does so.

    Args:
        operation: an operator of torch.library with all its overloads (`torch.ops.mine.op`, or what
            `torch.library.custom_op` returns); a subclass of `torch.autograd.Function`; or a class of
            modules, also for its subclasses that have the same `forward`.
        like: takes the arguments of the operation: those of the operator, those of `apply`, or the module and
            the arguments of its `forward`.
        exact: False if `like` has the same effect for channels of zeros only. Other constants are then not
            compensated behind the operation, and a note of the report says so.

    Raises:
        ConfigError: `operation` is none of these, or `like` cannot be called.
    """
    if not callable(like):
        remedy = "Give a function that takes the arguments of the operation"
        raise ConfigError("is not a function", field="like", value=repr(like), remedy=remedy)
    line = _line_of_call()
    operator = operator_of(operation)
    owner: Any = getattr(operation, "__self__", None)
    if _is_class(owner, Function) and operation == owner.apply:
        operation = owner
    if operator is not None and not str(operator).startswith(_OF_TORCH):
        OPERATORS[operator] = OwnRule(str(operator), like, exact, line)
    elif _is_class(operation, Function):
        FUNCTIONS[operation] = OwnRule(operation.__name__, like, exact, line)
    elif _is_class(operation, nn.Module):
        MODULES[operation] = OwnRule(operation.__name__, like, exact, line)
    else:
        raise _refusal(operation)


def registered_rules() -> str:
    """The operations with a rule, each with the line of its registration; "" for none."""
    rules = (*OPERATORS.values(), *FUNCTIONS.values(), *MODULES.values())
    return ", ".join(f"{rule.name} ({rule.line})" for rule in rules)


def _line_of_call() -> str:
    """The line that calls the public function."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "an unknown line"


def _is_class(value: Any, base: type) -> bool:
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _refusal(operation: Any) -> ConfigError:
    problem = "is not an operator of torch.library, an autograd.Function, or a class of modules"
    if operator_of(operation) is not None:
        problem = "is an operator of PyTorch, which functions such as torch.sort call without this name"
        remedy = "Register the class of the module that calls it"
    elif isinstance(operation, nn.Module):
        remedy = "Give the class of this module"
    elif isinstance(operation, (FunctionType, MethodType)):
        problem = "a Python function cannot be replaced"
        remedy = (
            "It needs no rule: the operations that it calls are followed. If it calls an extension, wrap "
            "that by torch.library.custom_op, or register the class of the module that calls it"
        )
    else:
        remedy = "Wrap it by torch.library.custom_op, or register the class of the module that calls it"
    return ConfigError(problem, field="operation", value=repr(operation), remedy=remedy)


def operand(x: Tensor, exact: bool) -> Tensor:
    """A tensor that an operation of the user's own reads. The trace has a rule for this function."""
    if has_torch_function_unary(x):
        result: Tensor = handle_torch_function(operand, (x,), x, exact)
        return result
    return x


def inside_own_rule() -> bool:
    """Whether the function of a rule is running: the network itself does not call what it calls.

    So a layer that is called here gets no bias, and a BatchNorm no channel select.
    """
    return _HERE.rules > 0
