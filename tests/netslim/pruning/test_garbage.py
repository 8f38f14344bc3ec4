"""The garbage collector is paused while a network is pruned, and is afterwards as it was before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError


class Watching(nn.Sequential):
    """Records whether the collector runs during the forward pass."""

    seen: ClassVar[set[bool]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(gc.isenabled())
        return super().forward(x)


@pytest.fixture(autouse=True)
def collector_is_enabled() -> Iterator[None]:
    gc.enable()
    Watching.seen.clear()
    yield
    gc.enable()


def network() -> nn.Module:
    return Watching(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("enabled", [True, False])
def test_it_is_paused_for_the_time_of_pruning(enabled: bool) -> None:
    if not enabled:
        gc.disable()
    netslim.prune(network(), torch.zeros(1, 3, 3, 3), percent=0.5)
    assert Watching.seen == {False}
    assert gc.isenabled() is enabled


def test_it_runs_again_after_an_error() -> None:
    with pytest.raises(ModelError):
        netslim.prune(network(), torch.zeros(1, 2, 3, 3), percent=0.5)
    assert gc.isenabled()


def test_pruning_leaves_no_circles() -> None:
    """So that the pause costs no memory: what pruning makes is freed without the collector."""
    model, images = network(), torch.zeros(1, 3, 3, 3)
    netslim.prune(model, images, percent=0.5)
    gc.collect()
    gc.disable()
    netslim.prune(model, images, percent=0.5)
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        left = [thing for thing in gc.garbage if isinstance(thing, nn.Module | Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not left
