"""Wrong models, example inputs and optimizers are refused in one sentence that names what is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ModelError
from tests.helpers.networks import conv


class Flat(nn.Module):
    """Takes images of 8 x 8 only."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 8), conv(8, 12), nn.Linear(12 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x)).flatten(1))


EXAMPLES: dict[str, tuple[Any, str]] = {
    "other size": (torch.zeros(2, 3, 12, 12), "float32[2, 3, 12, 12]: the model does not run on it"),
    "other channels": (torch.zeros(2, 1, 8, 8), "float32[2, 1, 8, 8]: the model does not run on it"),
    "channels last": (torch.zeros(2, 8, 8, 3), "the model does not run on it"),
    "no batch": (torch.zeros(3, 8, 8), "the model does not run on it"),
    "bytes": (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "uint8[2, 3, 8, 8]: the model does not run on it"),
    "two inputs": ((torch.zeros(2, 3, 8, 8),) * 2, "the model does not run on it"),
    "a shape": ((1, 3, 8, 8), "it is a shape, not a tensor. Give torch.zeros(1, 3, 8, 8)"),
    "None": (None, "it is None, not a tensor"),
    "numpy": (np.zeros((2, 3, 8, 8), np.float32), "it is a numpy array, not a tensor"),
    "text": ("images", "it is a str, not a tensor"),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("function", [netslim.prune, netslim.preview], ids=["prune", "preview"])
def test_a_wrong_example_input_is_named(function: Callable[..., Any], name: str) -> None:
    example, expected = EXAMPLES[name]
    with pytest.raises(ModelError) as caught:
        function(Flat(), example, percent=0.5)
    assert caught.value.field == "example_input"
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        return torch.jit.script(module)


MODELS: dict[str, tuple[Callable[[], Any], str]] = {
    "state dict": (lambda: Flat().state_dict(), "a OrderedDict, not a network"),
    "checkpoint": (lambda: {"model": Flat()}, "a dict, not a network"),
    "class": (lambda: Flat, "a class, not a network. Give an object of it, such as Flat()"),
    "path": (lambda: "model.pt", "a str, not a network"),
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.BatchNorm2d(8)), "module 0 is a LazyConv2d"),
    "script": (lambda: scripted(Flat()), "it is a TorchScript module"),
    "scripted member": (lambda: nn.Sequential(conv(3, 8), scripted(conv(8, 4))), "module 1 is a TorchScript"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_network_is_named(name: str) -> None:
    make, expected = MODELS[name]
    with pytest.raises(ModelError) as caught:
        netslim.prune(make(), torch.zeros(2, 3, 8, 8))
    assert caught.value.field == "model"
    assert expected in str(caught.value)
