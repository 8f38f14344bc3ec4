"""Modules get back the attributes that they had, with the contents of containers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netslim.nn.attributes_before import AttributesBefore
from tests.helpers.networks import Chain


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
