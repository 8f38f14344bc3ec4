"""A second run is compared with the calls of the first."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from netslim.dependency import trace
from netslim.dependency.call_log import AT_END, CallLog, OtherCall
from netslim.nn.module_copy import ModuleIndex

X = torch.zeros(1)


def logged(*args: Any, any_mode: bool = False, **kwargs: Any) -> CallLog:
    log = CallLog()
    log.add((torch.cat, args, kwargs, "result", any_mode))
    return log


def test_the_same_call_has_the_same_result_and_the_next_is_new() -> None:
    log = logged([X, X], dim=1)
    assert log.next_result(torch.cat, ([X, X],), {"dim": 1}) == "result"
    assert log.next_result(torch.cat, ([X],), {}) is AT_END


OTHERS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "another tensor": ((X,), (X.clone(),)),
    "another number": ((X, 1), (X, 2)),
    "another kind of number": ((X, 1), (X, True)),
    "more tensors": (([X],), ([X, X],)),
    "more arguments": ((X,), (X, 1)),
    "another slice": ((slice(1, None),), (slice(2, None),)),
    "another option": (({"a": 1},), ({"b": 1},)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_call_ends_the_comparison(name: str) -> None:
    first, second = OTHERS[name]
    with pytest.raises(OtherCall):
        logged(*first).next_result(torch.cat, second, {})
    with pytest.raises(OtherCall):
        logged(*first).next_result(torch.stack, first, {})


def test_the_mode_may_change_all_but_the_tensors() -> None:
    assert logged(X, 0.1, False, any_mode=True).next_result(torch.cat, (X, None, True), {}) == "result"
    with pytest.raises(OtherCall):
        logged(X, 0.1, any_mode=True).next_result(torch.cat, (X.clone(), 0.1), {})


def test_a_list_that_grows_later_is_compared_as_it_was() -> None:
    parts = [X]
    log = logged(parts)
    parts.append(X)
    assert log.next_result(torch.cat, ([X],), {}) == "result"


def test_train_mode_of_standard_layers_is_not_traced_again() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None), nn.Dropout(), nn.ReLU(True))
    records = trace(ModuleIndex.of(layers.eval()), torch.zeros(1, 3, 4, 4))
    assert not records.second_mode
    assert not records.notes
