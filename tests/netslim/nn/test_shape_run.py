"""A run on shapes ends as a run with data does, and leaves the network as it was."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.nn.channel_select import add_channel_select
from netslim.nn.shape_run import run_shapes

IMAGES = torch.randn(2, 3, 8, 8)


class Own(nn.Module):
    """A network whose forward changes itself, in ways that users' code does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu()
        if not hasattr(self, "cache"):
            self.register_buffer("cache", torch.zeros(x.shape[-1]))
        self.mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        self.seen.append(x)
        x = x + torch.rand_like(x)
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("modes", [[False], [True, False], [None]])
def test_the_network_is_as_before(modes: list[bool | None]) -> None:
    model, images = Own().train(), IMAGES.clone()
    model.norm.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = [dict(vars(module)) for module in model.modules()]
    random = torch.get_rng_state()
    run_shapes(model, (images,), modes)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for module, before in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == before.keys()
        assert module.training == before["training"]
    assert model.seen == []
    assert torch.equal(images, IMAGES)
    assert model(images).shape == (2, 3)


def test_also_if_it_does_not_run() -> None:
    model = Own()
    model.head = nn.Linear(5, 3)
    with pytest.raises(RuntimeError):
        run_shapes(model, (IMAGES,), [False])
    assert model.seen == []
    assert "cache" not in vars(model)["_buffers"]
    assert all("forward" not in vars(module) for module in model.modules())
    with pytest.raises(RuntimeError):
        model(IMAGES)


def cut(path: str, name: str) -> nn.Module:
    """The network with one vector or weight that is a channel short, or with a wrong input."""
    model: Any = Own()
    layer = model.get_submodule(path)
    values = getattr(layer, name).detach()
    vars(layer)["_buffers" if name.startswith("running") else "_parameters"][name] = nn.Parameter(values[:-1])
    return model


@pytest.mark.parametrize(
    "name", ["conv.weight", "norm.weight", "norm.running_mean", "head.bias", "conv.bias"]
)
def test_a_network_with_a_wrong_width_does_not_run_here_or_there(name: str) -> None:
    model = cut(*name.split("."))
    with pytest.raises(RuntimeError):
        run_shapes(model, (IMAGES,), [False])
    with pytest.raises(RuntimeError):
        model.eval()(IMAGES)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return nn.functional.batch_norm(x, self.b.running_mean, self.b.running_var)


class OwnNorm(nn.BatchNorm2d):
    """A class of the user's own, with torch's forward."""


def test_a_channel_select_that_is_not_used_is_found() -> None:
    model = Two()
    for norm in (model.a, model.b):
        add_channel_select(norm, reads=[2, 0, 1])
    assert run_shapes(model, (IMAGES,), [False]) == [model.b]


def test_a_slim_network_with_selections_has_the_shapes_of_a_run_with_data() -> None:
    wide = netslim.models.build(
        netslim.models.resolve("resnet164", depth=20, num_classes=3, in_channels=3, image_size=(8, 8))
    )
    slim = netslim.prune(wide, IMAGES, percent=0.4, policy="select").model
    outputs: list[Any] = []
    slim.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    assert run_shapes(slim, (IMAGES,), [False, True]) == []
    assert [(o.shape, o.is_meta) for o in outputs] == [(slim(IMAGES).shape, True)] * 2


@pytest.mark.parametrize(
    ("reads", "places"), [([0, 3], None), (None, [1, 0]), ([1, 2], [0, 4]), ([0], [5]), (None, None)]
)
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, OwnNorm])
def test_a_norm_with_a_select_has_the_shape_of_a_run_with_data(
    kind: type[nn.BatchNorm2d], reads: list[int] | None, places: list[int] | None
) -> None:
    norm: Any = kind(2 if reads is None else len(reads)).eval()
    if reads or places:
        add_channel_select(norm, reads, places, 6, torch.ones(6))
    shapes: list[Any] = []
    norm.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    for images in (torch.zeros(1, 4, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(1, 4)):
        try:
            norm(images)
        except (RuntimeError, ValueError, IndexError):
            with pytest.raises((RuntimeError, ValueError, IndexError)):
                run_shapes(norm, (images,), [False])
        else:
            run_shapes(norm, (images,), [False])
            assert shapes[-1] == shapes[-2]


def test_a_run_leaves_nothing_that_keeps_the_network_alive() -> None:
    """Its weights are freed with its last reference, not when the garbage collector runs."""
    model = netslim.prune(Own(), IMAGES, percent=0.25).model
    gc.collect()
    gc.disable()
    try:
        alive = weakref.ref(model)
        run_shapes(model, (IMAGES,), [False, True])
        del model
        assert alive() is None
    finally:
        gc.enable()
