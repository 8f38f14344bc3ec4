"""A BatchNorm with a channel selection computes what it should, and looks like the BatchNorm that it was."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netslim.nn.channel_select import (
    ChannelSelect,
    add_channel_select,
    names_without_wrapper,
    remove_channel_select,
    type_of,
)

READS, PLACES, FILL = [0, 2, 4], [3, 0, 1], torch.tensor([0.0, 0.0, 7.0, 0.0])
IMAGES = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))


class Named(nn.BatchNorm2d):
    """Somebody's own name for BatchNorm."""


def norm(kind: type[nn.BatchNorm2d] = Named) -> nn.BatchNorm2d:
    module = kind(3).eval()
    module.weight.data = torch.tensor([1.0, -2.0, 3.0])
    module.running_mean = torch.tensor([0.5, 0.0, -0.5])
    return module


def selecting(kind: type[nn.BatchNorm2d] = Named) -> nn.BatchNorm2d:
    module = norm(kind)
    add_channel_select(module, READS, PLACES, width=4, fill=FILL)
    return module


def expected() -> Tensor:
    """The outputs of `selecting()`, by hand."""
    outputs = torch.zeros(2, 4, 4, 4)
    outputs[:, PLACES] = norm()(IMAGES[:, READS])
    return outputs + FILL.view(1, 4, 1, 1)


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        return torch.jit.script(module)


def added_twice(module: nn.Module) -> nn.Module:
    add_channel_select(module, READS, PLACES, 4, FILL)
    return module


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "itself": lambda module: module,
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "script": scripted,
    "added twice": added_twice,
}


@pytest.mark.parametrize("name", COPIES)
def test_it_reads_and_places_channels(name: str) -> None:
    assert torch.equal(COPIES[name](selecting())(IMAGES), expected())


def test_type_attributes_and_names_are_those_of_the_class_it_had() -> None:
    module, plain = selecting(), norm()
    assert isinstance(module, Named)
    assert isinstance(module, ChannelSelect)
    assert type_of(module) is type_of(plain) is Named
    assert module.state_dict().keys() - {"fill"} == plain.state_dict().keys()
    assert (module.eps, module.num_features) == (plain.eps, plain.num_features)
    assert torch.equal(module.weight, plain.weight)
    assert torch.equal(module.running_mean, plain.running_mean)  # type: ignore[arg-type]


def test_a_selection_is_removed_without_a_trace() -> None:
    module = selecting()
    remove_channel_select(module)
    remove_channel_select(module)
    assert type(module) is Named
    assert dict(module.named_buffers()).keys() == dict(norm().named_buffers()).keys()
    assert torch.equal(module(IMAGES[:, READS]), norm()(IMAGES[:, READS]))


def test_a_state_dict_of_0_1_0_is_read() -> None:
    """There, a module around the BatchNorm selected the channels; the BatchNorm was its `layer`."""
    state = selecting().state_dict()
    old = {"0.fill" if name == "fill" else f"0.layer.{name}": value for name, value in state.items()}
    model = nn.Sequential(selecting(nn.BatchNorm2d))
    assert names_without_wrapper(model, old).keys() == model.state_dict().keys()
    model[0].weight.data.zero_()
    model.load_state_dict(old)
    assert torch.equal(model(IMAGES), expected())
