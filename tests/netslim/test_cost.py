"""Counts against hand-computed values, the paper's tables and fvcore."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.nn import functional as F

from netslim import models
from netslim.cost import Cost, LayerCost, count
from netslim.errors import ModelError

LAYERS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    # one value per output position: kernel values x input channels of its group
    (nn.Conv2d(3, 8, 3), (1, 3, 10, 12), 8 * 8 * 10 * (3 * 3 * 3)),
    (nn.Conv2d(3, 8, (3, 5), stride=2, padding=1), (1, 3, 9, 9), 8 * 5 * 4 * (3 * 3 * 5)),
    (nn.Conv2d(4, 8, 3, padding="same", dilation=2), (1, 4, 6, 6), 8 * 6 * 6 * (4 * 3 * 3)),
    (nn.Conv2d(8, 16, 1, groups=4), (1, 8, 5, 5), 16 * 5 * 5 * 2),
    (nn.Conv2d(8, 16, 3, groups=8), (1, 8, 5, 5), 16 * 3 * 3 * (3 * 3)),
    (nn.Conv1d(2, 6, 4), (1, 2, 13), 6 * 10 * (2 * 4)),
    (nn.Conv3d(2, 3, 2), (1, 2, 4, 5, 6), 3 * (3 * 4 * 5) * (2 * 2 * 2 * 2)),
    # a transposed convolution spreads every input value over the kernel of every output channel of its group
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 5), (4 * 5 * 5) * (6 * 3 * 3)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2), (1, 4, 5, 5), (4 * 5 * 5) * (3 * 3 * 3)),
    (nn.ConvTranspose1d(2, 3, 4), (1, 2, 7), (2 * 7) * (3 * 4)),
    (nn.Linear(7, 5), (1, 7), 35),
    (nn.Linear(7, 5, bias=False), (1, 4, 7), 4 * 35),  # a linear layer on each of four tokens
    # no MACs
    (nn.BatchNorm2d(3), (1, 3, 4, 4), 0),
    (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Softmax(1)), (1, 3, 4, 4), 0),
]


@pytest.mark.parametrize(("layer", "shape", "macs"), LAYERS, ids=lambda value: str(value)[:40])
def test_one_layer_by_hand(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    cost = count(layer, torch.zeros(shape))
    assert cost.macs == macs
    assert cost.flops == 2 * macs
    assert cost.params == sum(p.numel() for p in layer.parameters())


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


SMALL = Cost(
    params=216 + 16 + 1290,
    macs=216 * 16 + 1280,
    channels=8,
    layers=(LayerCost("0", 216, 216 * 16), LayerCost("1", 16, 0), LayerCost("4", 1290, 1280)),
)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_network_by_hand_for_one_example(batch: int) -> None:
    assert count(small(), torch.zeros(batch, 3, 4, 4)) == SMALL


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_the_module_inside_a_wrapper_is_counted(wrap: Callable[[nn.Module], nn.Module]) -> None:
    assert count(wrap(small()), torch.zeros(1, 3, 4, 4)) == SMALL


def test_a_network_already_on_the_meta_device() -> None:
    assert count(small().to("meta"), torch.zeros(1, 3, 4, 4)) == SMALL


def test_the_model_stays_as_it_is() -> None:
    model = small().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    count(model, torch.randn(4, 3, 4, 4))
    assert [module.training for module in model] == [True, False, True, True, True]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    assert not any(parameter.is_inference() or parameter.is_meta for parameter in model.parameters())


class Odd(nn.Module):
    """A module used twice, functional calls, a tied weight, a computed weight, and an unknown product."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Linear(4, 4, bias=False)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.twice.weight
        self.kernel = nn.Parameter(torch.ones(2, 4))
        self.product = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tied(self.twice(self.twice(x)))
        x = F.linear(x, weight=self.kernel)
        x = F.linear(x, self.kernel.t() / 2)
        return F.linear(x, self.kernel) @ self.product


def test_operations_count_not_modules() -> None:
    cost = count(Odd(), torch.zeros(1, 4))
    assert cost.layers == (
        LayerCost("kernel", 8, 2 * 8),
        LayerCost("product", 4, 0),
        LayerCost("twice", 16, 3 * 16),
        LayerCost("(computed weight)", 0, 8),
    )
    assert cost.uncounted == ("matmul (product)",)


class Calls(nn.Module):
    """One layer, and a function that uses it."""

    def __init__(self, layer: nn.Module, call: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.layer, x)


UNCOUNTED: list[tuple[nn.Module, Callable[[Any, Tensor], Tensor], tuple[str, ...]]] = [
    (nn.LSTM(4, 3), lambda layer, x: layer(x)[0], ("lstm (layer)",)),
    (nn.GRU(4, 3), lambda layer, x: layer(x)[0], ("gru (layer)",)),
    (nn.RNN(4, 3), lambda layer, x: layer(x)[0], ("rnn_tanh (layer)",)),
    (nn.GRUCell(4, 3), lambda layer, x: layer(x[0]), ("gru_cell (layer)",)),
    (nn.Bilinear(4, 4, 3), lambda layer, x: layer(x, x), ("bilinear (layer)",)),
    (nn.Linear(4, 3), lambda layer, x: x @ layer.weight.t(), ("matmul (layer)",)),
    (nn.Linear(4, 3), lambda layer, x: torch.einsum("nti,oi->nto", x, layer.weight), ("einsum (layer)",)),
    (nn.Linear(4, 3), lambda layer, x: torch.addmm(layer.bias, x[0], layer.weight.t()), ("addmm (layer)",)),
    # counted, elementwise, and products of activations
    (nn.Linear(4, 3), lambda layer, x: layer(x), ()),
    (nn.BatchNorm1d(4), lambda layer, x: layer(x[0]) * layer.weight + layer.bias, ()),
    (nn.MultiheadAttention(4, 2), lambda layer, x: layer(x, x, x)[0], ()),
]


@pytest.mark.parametrize(
    ("layer", "call", "names"),
    UNCOUNTED,
    ids=[str(row[2]) + str(number) for number, row in enumerate(UNCOUNTED)],
)
def test_products_with_parameters_that_are_not_counted_are_named(
    layer: nn.Module, call: Callable[[Any, Tensor], Tensor], names: tuple[str, ...]
) -> None:
    assert count(Calls(layer, call), torch.zeros(1, 5, 4)).uncounted == names


def test_an_operation_from_outside_torch_is_named() -> None:
    model = torchvision.ops.DeformConv2d(3, 4, 3)
    inputs = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 18, 6, 6))
    cost = count(model, inputs)
    assert cost.macs == 0
    assert cost.uncounted == ("deform_conv2d (bias)", "deform_conv2d (weight)")


class LooksAtValues(nn.Module):
    """Control flow that the meta device cannot follow, and a tensor outside the state."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.shift = nn.Linear(4, 2), torch.ones(4)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.shift
        return self.fc(x) if x.sum() > 0 else self.fc(self.fc(x).repeat(1, 2))


def test_a_model_that_needs_the_numbers_runs_with_them(caplog: pytest.LogCaptureFixture) -> None:
    assert count(LooksAtValues(), torch.ones(1, 4)).macs == 8
    assert count(LooksAtValues(), -2 * torch.ones(1, 4)).macs == 16
    assert not caplog.records


def test_an_error_that_torch_does_not_raise_for_missing_data_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug of the counter must not hide behind the slower run with data."""
    model = small()
    failed: list[bool] = []
    forward = model.forward

    def fails_once(x: Tensor) -> Tensor:
        if not failed:
            failed.append(True)
            raise KeyError("a bug")
        return forward(x)

    monkeypatch.setattr(model, "forward", fails_once)
    assert count(model, torch.zeros(1, 3, 4, 4)) == SMALL
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "KeyError: 'a bug'" in caplog.text


def test_several_inputs() -> None:
    assert count(nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4))).params == 65


@pytest.mark.parametrize("fused", [True, False])
def test_attention_counts_its_projections_only(fused: bool) -> None:
    """5 tokens: in-projection 5 x 8 x 24 and out-projection 5 x 8 x 8; query x key is no layer."""
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        assert count(layer, torch.zeros(2, 5, 8)).macs == 5 * 8 * (24 + 8) + 2 * 5 * 8 * 16
        assert torch.backends.mha.get_fastpath_enabled() == fused
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def test_channels_are_scaling_factors() -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4, affine=False), nn.LayerNorm(4))
    model.append(model[0])
    assert count(model, torch.zeros(2, 4)).channels == 4


PAPER = [
    # Table 1: parameters and FLOPs, ours being 2 x MACs
    ("vgg19", 10, 32, "20.04M", 7.97e8),
    ("vgg19", 100, 32, "20.08M", 7.97e8),
    ("resnet164", 10, 32, "1.70M", 4.99e8),
    ("resnet164", 100, 32, "1.73M", 5.00e8),
    ("densenet40", 10, 32, "1.02M", 5.33e8),
    ("densenet40", 100, 32, "1.06M", 5.33e8),
    # Table 2: its 4.57e10 is 6 x MACs, three times the convention of Table 1
    ("vgg-a", 1000, 224, "132.87M", 4.57e10 / 3),
]


@pytest.mark.parametrize(("name", "classes", "size", "params", "flops"), PAPER)
def test_the_paper_s_networks(name: str, classes: int, size: int, params: str, flops: float) -> None:
    with torch.device("meta"):
        model = models.build(
            models.resolve(name, num_classes=classes, in_channels=3, image_size=(size, size))
        )
    cost = count(model, torch.zeros(1, 3, size, size))
    assert f"{cost.params / 1e6:.2f}M" == params
    assert cost.flops == pytest.approx(flops, rel=0.01)


FAMILIES = [
    *("vgg11_bn", "resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0"),
    *("shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5", "googlenet", "vit_b_32", "maxvit_t"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_fvcore_counts_the_same(name: str) -> None:
    model = torchvision.models.get_model(
        name, **({"init_weights": False} if name == "googlenet" else {})
    ).eval()
    image = torch.zeros(1, 3, 224, 224)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    theirs = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    macs = theirs.by_operator()
    assert count(model, image).macs == macs["conv"] + macs["linear"] + macs["addmm"]


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(
        ModelError, match=r"example_input = \(1, 1, 4, 4\): the model does not run on it .*expected"
    ):
        count(small(), torch.zeros(2, 1, 4, 4))


@pytest.mark.slow
def test_counting_loads_no_compiler() -> None:
    """torch would load it for a dispatch mode of its own kind, for a mean, and for a linear layer.

    It would load sympy for a convolution and for maximum pooling.
    """
    code = """
import sys, torch, netslim
from torch import nn
pools = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)
layers = nn.Conv2d(3, 8, 3), nn.ReLU(), *pools, nn.Flatten(), nn.Linear(32, 4)
print(netslim.count(nn.Sequential(*layers), torch.zeros(1, 3, 9, 9)).macs)
print(*{"torch._dynamo", "sympy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(8 * 7 * 7 * 27 + 32 * 4)]
