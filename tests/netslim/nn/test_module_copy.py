"""What modules keep besides tensors: copied, shared where a copy makes no sense, or refused by name."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import netslim
from netslim.errors import ModelError
from netslim.nn.module_copy import AttributesBefore
from tests.helpers.networks import Chain

IMAGES = torch.zeros(2, 3, 8, 8)
SHARED: dict[str, Callable[[], Any]] = {
    "lock": threading.Lock,
    "file": lambda: open(os.devnull),  # noqa: SIM115
    "generator": lambda: (number for number in range(3)),
    "module": lambda: io,
}


class Holder:
    """A class of the model's own."""

    def __init__(self, value: Any) -> None:
        self.inner, self.numbers = {"value": [value]}, [1, 2]


@pytest.mark.parametrize("name", SHARED)
def test_what_cannot_be_copied_is_shared_and_its_containers_are_copied(name: str) -> None:
    model: Any = Chain()
    value = SHARED[name]()
    model.b.helper, model.b.helpers, model.c.holder = value, [value, [1]], Holder(value)
    slim = netslim.prune(model, IMAGES, percent=0.5).model
    assert slim.b.helper is slim.b.helpers[0] is slim.c.holder.inner["value"][0] is value
    assert slim.b.helpers is not model.b.helpers
    assert slim.c.holder.numbers is not model.c.holder.numbers
    if name == "file":
        value.close()


def test_an_activation_with_its_history_is_copied_without_it() -> None:
    model: Any = Chain()
    kept = model.a(IMAGES)
    model.b.kept, model.b.all = kept, [kept, (kept,)]
    slim = netslim.prune(model, IMAGES, percent=0.5).model
    assert torch.equal(slim.b.all[1][0], kept)
    assert slim.b.all[0] is not kept
    assert not slim.b.kept.requires_grad


class Module(nn.Module):
    """A module that `copy` is told to copy in its own way, which fails."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise TypeError("not me\nat all")


def test_a_module_that_cannot_be_copied_is_refused_by_name() -> None:
    model = Chain()
    model.b.own = Module()
    with pytest.raises(ModelError) as caught:
        netslim.prune(model, IMAGES, percent=0.5)
    assert "b.own: a Module cannot be copied (not me)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_attributes_are_restored_with_the_contents_of_containers() -> None:
    model: Any = Chain()
    model.seen, model.cache, model.number = [1, [2]], {}, 3
    before = AttributesBefore(model)
    model.seen[1].append(9)
    model.seen.append(9)
    model.cache["a"], model.number, model.new = 9, 9, 9
    model.b[0].weight = nn.Parameter(torch.zeros(1))
    weight = before.modules[0].a[0].weight
    before.restore()
    assert (model.seen, model.cache, model.number) == ([1, [2]], {}, 3)
    assert not hasattr(model, "new")
    assert model.b[0].weight.numel() > 1
    assert model.a[0].weight is weight
