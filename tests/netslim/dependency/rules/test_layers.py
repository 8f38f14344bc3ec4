"""Convolution, linear layers and BatchNorm: what is recorded of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netslim.dependency import TraceRecords, trace
from netslim.nn.module_copy import ModuleIndex


class Calls(nn.Module):
    """A BatchNorm of 8 channels behind an activation, and one call on its output."""

    def __init__(self, layer: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm, self.layer, self.call = nn.BatchNorm2d(8), layer, call
        nn.init.constant_(self.norm.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, self.norm(x))


def recorded(layer: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> TraceRecords:
    return trace(ModuleIndex.of(Calls(layer, call)), torch.zeros(1, 8, 6, 6))


# layer, call, number of equal-block records, reasons besides the network's input and output
TABLE: dict[str, tuple[nn.Module, Callable[[Any, Tensor], Tensor], int, list[str]]] = {
    "conv": (nn.Conv2d(8, 4, 3, padding=1), lambda layer, x: layer(x), 0, []),
    "conv of sigmoid, padded": (
        nn.Conv2d(8, 4, 3, padding=1), lambda layer, x: layer(x.sigmoid()), 0,
        ["layer reads them activated to something else than 0"],
    ),
    "conv of sigmoid": (nn.Conv2d(8, 4, 3), lambda layer, x: layer(x.sigmoid()), 0, []),
    "conv of noise": (
        nn.Conv2d(8, 4, 3), lambda layer, x: layer(torch.rand_like(x)), 0, ["layer reads them as they are"]
    ),
    "grouped": (nn.Conv2d(8, 4, 1, groups=2), lambda layer, x: layer(x), 2, []),
    "transposed": (nn.ConvTranspose2d(8, 4, 2, 2), lambda layer, x: layer(x), 0, []),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), lambda layer, x: layer(x), 0, []),
    "depthwise function": (
        nn.Conv2d(8, 8, 3, groups=8), lambda layer, x: F.conv2d(x, layer.weight, groups=8), 0,
        ["a depthwise convolution is called as a function"],
    ),
    "depthwise function with the groups of its layer": (
        nn.Conv2d(8, 8, 3, groups=8), lambda layer, x: F.conv2d(x, layer.weight, groups=layer.groups), 0, []
    ),
    "linear": (nn.Linear(8, 5), lambda layer, x: layer(x.mean((2, 3))), 0, []),
    "computed weight": (
        nn.Conv2d(8, 4, 1), lambda layer, x: F.conv2d(x, layer.weight * 2), 0, ["conv2d"]
    ),
    "called twice, differently": (
        nn.Conv2d(8, 4, 1), lambda layer, x: layer(x) + layer(x.sigmoid()), 0,
        ["layer is used twice, differently"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_one_layer(name: str) -> None:
    layer, call, blocks, reasons = TABLE[name]
    records = recorded(layer, call)
    found = [item.reason.split(" at test_")[0] for item in records.unprunable]
    assert [
        reason for reason in dict.fromkeys(found) if not reason.startswith("they are the network's")
    ] == reasons
    assert len(records.equal_blocks) == blocks
    assert [norm.path for norm in records.norms.values()] == ["norm"]
    if name != "computed weight":
        record = records.weighted_layers["layer.weight"]
        assert record.inputs.labels.size == 8
        assert record.module == "layer"
        assert bool(records.depthwise_inputs) == record.depthwise == name.startswith("depthwise")


@pytest.mark.parametrize("groups", [1, 8])
def test_the_geometry_is_that_of_the_layer(groups: int) -> None:
    layer = nn.Conv2d(8, 8, (3, 5), stride=2, padding=(1, 2), dilation=(1, 1), groups=groups)
    geometry = recorded(layer, lambda layer, x: layer(x)).weighted_layers["layer.weight"].geometry
    assert geometry is not None
    assert geometry.output_size == tuple(layer(torch.zeros(1, 8, 6, 6)).shape[2:])
    assert (geometry.input_size, geometry.stride, geometry.padding) == ((6, 6), (2, 2), (1, 2))


def test_constants_behind_a_depthwise_convolution_are_what_torch_computes() -> None:
    layer = nn.Conv2d(8, 8, 3, groups=8)
    seen: list[Any] = []
    recorded(layer, lambda layer, x: seen.append(layer(x)) or seen[0])  # type: ignore[func-returns-value]
    with torch.no_grad():
        for bias, values in ((0.0, "value_without_bias"), (0.5, "value_with_bias")):
            truth = layer(torch.full((1, 8, 3, 3), bias)).ravel().numpy()
            assert np.allclose(getattr(seen[0].channels, values).ravel(), truth, atol=1e-6)
