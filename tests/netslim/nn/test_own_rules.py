"""What can have a rule, and what is refused."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F

import netslim
from netslim.errors import ConfigError
from netslim.nn.follow_rules import own_rules
from netslim.nn.own_rules import registered_rules
from tests.helpers.own_operations import Block, curve, numpy_relu, rank

pytestmark = pytest.mark.usefixtures("no_rules")


def plain(x: Any) -> Any:
    return x


FOLLOWED = "a Python function cannot be replaced"
EXTENSION = "Wrap it by torch.library.custom_op"
REFUSED: dict[str, tuple[Any, str, str]] = {
    "a function": (plain, FOLLOWED, "It needs no rule: the operations that it calls are followed"),
    "a lambda": (lambda x: x, FOLLOWED, "wrap that by torch.library.custom_op"),
    "a method": (Block().forward, FOLLOWED, "register the class of the module that calls it"),
    "a module": (nn.ReLU(), "is not an operator", "Give the class of this module"),
    "an operator of PyTorch": (torch.ops.aten.sort, "is an operator of PyTorch", "the class of the module"),
    "its overload": (torch.ops.aten.sort.stable, "is an operator of PyTorch", "the class of the module"),
    "a built-in function": (torch.sort, "is not an operator", EXTENSION),
    "a partial function": (partial(plain), "is not an operator", EXTENSION),
    "another class": (dict, "is not an operator", EXTENSION),
    "all functions": (Function, "is not an operator", EXTENSION),
    "all modules": (nn.Module, "is not an operator", EXTENSION),
    "a namespace": (torch.ops.netslim_tests_2, "is not an operator", EXTENSION),
    "a name": ("netslim_tests_2::curve", "is not an operator", EXTENSION),
    "None": (None, "is not an operator", EXTENSION),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_replaced_is_refused_with_a_remedy(name: str) -> None:
    operation, problem, remedy = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        netslim.register_rule(operation, plain)
    error = caught.value
    assert (error.field, error.value) == ("operation", repr(operation))
    assert error.problem.startswith(problem)
    assert remedy in str(error.remedy)


def test_the_rule_must_be_a_function() -> None:
    with pytest.raises(ConfigError, match=r"like = 'relu': is not a function\. Give a function"):
        netslim.register_rule(curve, "relu")  # type: ignore[arg-type]


def test_an_operation_has_one_rule_however_it_is_given() -> None:
    for operation in (curve, curve.default):
        netslim.register_rule(operation, lambda x, by: pytest.fail("this rule is replaced"))
    netslim.register_rule(curve, lambda x, by: x + by)
    assert registered_rules().startswith("netslim_tests_2.curve (test_own_rules.py:")
    assert registered_rules().count("(") == 1
    with own_rules():
        assert curve(torch.ones(1), by=2.0) == 3
        assert curve.default(torch.ones(1), by=2.0) == 3
    assert float(curve(torch.ones(1), by=2.0)) == pytest.approx(0.9640, abs=1e-4)


def test_rules_may_call_operations_with_rules() -> None:
    netslim.register_rule(rank, lambda x: curve(x, by=-0.5))
    netslim.register_rule(curve, lambda x, by: numpy_relu(x, by))
    netslim.register_rule(numpy_relu, lambda x, least: F.hardtanh(x, least, 2.0))
    with own_rules():
        assert torch.equal(rank(torch.tensor([-1.0, 1.0, 3.0])), torch.tensor([-0.5, 1.0, 2.0]))
