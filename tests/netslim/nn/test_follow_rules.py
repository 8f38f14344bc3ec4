"""Operations are replaced for a time and for one thread, and are as before afterwards."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from netslim.nn.follow_rules import own_rules
from tests.helpers.own_operations import Block, NumpyRelu, WithSetup, curve, numpy_relu, rank

pytestmark = pytest.mark.usefixtures("no_rules")

VALUES = torch.tensor([-1.0, 2.0])
RELU = torch.tensor([0.0, 2.0])


def in_a_thread(call: Any) -> Any:
    """What `call` returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_another_thread_calls_the_operations_themselves() -> None:
    block = Block().eval()
    images = torch.randn(1, 12, 2, 2)
    truth = block(images)
    netslim.register_rule(NumpyRelu, lambda x, least: x + 10)
    netslim.register_rule(WithSetup, lambda x: x + 20)
    netslim.register_rule(curve, lambda x, by: x + 30)
    netslim.register_rule(Block, lambda module, x: x + 40)
    with own_rules(block):
        assert torch.equal(numpy_relu(VALUES, 0.0), VALUES + 10)
        assert torch.equal(WithSetup.apply(VALUES), VALUES + 20)
        assert torch.equal(curve(VALUES, by=1.0), VALUES + 30)
        assert torch.equal(block(images), images + 40)
        assert torch.equal(in_a_thread(lambda: numpy_relu(VALUES, 0.0)), RELU)
        assert torch.equal(in_a_thread(lambda: WithSetup.apply(VALUES)), RELU)
        assert torch.equal(in_a_thread(lambda: curve(VALUES, by=1.0)), VALUES.tanh())
        assert torch.equal(in_a_thread(lambda: block(images)), truth)
        other = in_a_thread(lambda: copy.deepcopy(block))
    other.conv.weight.data.zero_()
    assert not torch.equal(other(images), truth)  # the copy does not call the original
    assert torch.equal(block(images), truth)


def test_all_is_as_before_also_behind_an_error() -> None:
    block, functions = Block(), (NumpyRelu, WithSetup)
    before = [dict(vars(each)) for each in (*functions, block)]
    netslim.register_rule(NumpyRelu, lambda x, least: x.no_such_method())
    netslim.register_rule(WithSetup, F.relu)
    netslim.register_rule(Block, lambda module, x: numpy_relu(x, 0.0))
    with own_rules(block):
        pass
    assert [dict(vars(each)) for each in (*functions, block)] == before
    with pytest.raises(ModelError, match="no_such_method"), own_rules(block):
        block(torch.ones(1))
    assert [dict(vars(each)) for each in (*functions, block)] == before
    assert torch.equal(numpy_relu(VALUES, 0.0), RELU)


def test_the_thread_that_ends_last_undoes_the_replacement() -> None:
    forward = vars(NumpyRelu)["forward"]
    second_is_in, first_has_ended = threading.Event(), threading.Event()
    found: list[Tensor] = []

    def second() -> None:
        with own_rules():
            second_is_in.set()
            assert first_has_ended.wait(30)
            found.append(numpy_relu(VALUES, 0.0))

    netslim.register_rule(NumpyRelu, lambda x, least: x + 10)
    thread = threading.Thread(target=second)
    with own_rules():
        thread.start()
        assert second_is_in.wait(30)
    assert torch.equal(numpy_relu(VALUES, 0.0), RELU)
    first_has_ended.set()
    thread.join()
    assert torch.equal(found[0], VALUES + 10)
    assert vars(NumpyRelu)["forward"] is forward


def test_a_rule_that_is_registered_during_a_run_holds_from_the_next_run_on() -> None:
    netslim.register_rule(curve, lambda x, by: x)
    with own_rules():
        netslim.register_rule(NumpyRelu, lambda x, least: x + 10)
        assert torch.equal(numpy_relu(VALUES, 0.0), RELU)
        with own_rules():
            assert torch.equal(numpy_relu(VALUES, 0.0), VALUES + 10)
    assert torch.equal(numpy_relu(VALUES, 0.0), RELU)


def test_nothing_is_replaced_when_no_rule_is_registered() -> None:
    """No call of torch passes through a mode then, so tracing takes no longer."""
    block, forward = Block(), vars(NumpyRelu)["forward"]
    with own_rules(block):
        assert not torch.overrides.has_torch_function((VALUES,))
        assert vars(NumpyRelu)["forward"] is forward
        assert "forward" not in vars(block)
    netslim.register_rule(rank, lambda x: x)
    with own_rules(block):
        assert torch.overrides.has_torch_function((VALUES,))
