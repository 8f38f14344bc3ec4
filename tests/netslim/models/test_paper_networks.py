"""The paper's networks have the paper's sizes. FLOPs are 2 x MACs of convolution and linear layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from netslim import models
from netslim.errors import ModelError

SMALL = {"in_channels": 3, "image_size": (32, 32)}
LARGE = {"in_channels": 3, "image_size": (224, 224)}
GREY = {"in_channels": 1, "image_size": (28, 28)}


def build(name: str, **arguments: object) -> nn.Module:
    """On torch's meta device: shapes without memory, so that even VGG-A costs nothing."""
    with torch.device("meta"):
        return models.build(models.resolve(name, **arguments))  # type: ignore[arg-type]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Counted apart from netslim.cost: output elements x weights that make one of them."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()  # type: ignore[union-attr,operator]

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    model.eval()(torch.empty(1, *shape, device="meta"))
    return total


@pytest.mark.parametrize(
    ("name", "classes", "params", "flops"),
    [
        ("vgg19", 10, 20_035_018, 7.97e8),
        ("vgg19", 100, 20_081_188, 7.97e8),
        ("resnet164", 10, 1_703_258, 4.99e8),
        ("resnet164", 100, 1_726_388, 5.00e8),
        ("densenet40", 10, 1_019_722, 5.33e8),
        ("densenet40", 100, 1_060_132, 5.33e8),
    ],
)
def test_table_1_sizes(name: str, classes: int, params: int, flops: float) -> None:
    model = build(name, num_classes=classes, **SMALL)
    assert parameters(model) == params
    assert 2 * macs(model, (3, 32, 32)) == pytest.approx(flops, rel=0.01)


def test_table_2_vgg_a() -> None:
    model = build("vgg-a", num_classes=1000, **LARGE)
    assert round(parameters(model) / 1e6, 1) == 132.9
    assert 6 * macs(model, (3, 224, 224)) == pytest.approx(4.57e10, rel=0.01)  # that table counts 6 x MACs
    factors = {
        kind: sum(m.num_features for m in model.modules() if isinstance(m, kind))
        for kind in (nn.BatchNorm2d, nn.BatchNorm1d)
    }
    assert factors == {nn.BatchNorm2d: 2752, nn.BatchNorm1d: 8192}
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())


def test_table_3_mlp_shrinks_by_the_papers_share() -> None:
    wide = parameters(build("mlp", num_classes=10, **GREY))
    slim = parameters(build("mlp", num_classes=10, hidden=[100, 60], **GREY))
    weights, biases, batch_norm = 784 * 500 + 500 * 300 + 300 * 10, 10, 2 * 800
    assert wide == weights + biases + batch_norm
    assert round(100 * (1 - slim / wide), 1) == 84.4


def test_the_demos_network_has_the_prototypes_size() -> None:
    model = build("vgg-digits", num_classes=10, in_channels=1, image_size=(8, 8))
    assert parameters(model) == 288_170
    assert round(macs(model, (1, 8, 8)) / 1e6, 2) == 2.38


def test_vgg11_small_scales_every_layer() -> None:
    def widths(width: float) -> list[int]:
        model = build("vgg11-small", num_classes=10, width=width, **SMALL)
        return [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]

    assert widths(1.0) == [64, 128, 256, 256, 512, 512, 512, 512]
    assert widths(0.125) == [8, 16, 32, 32, 64, 64, 64, 64]


@pytest.mark.parametrize("name", sorted({*models.names()} - {"vgg-a"}))  # it would draw 133 million numbers
def test_paper_initialisation(name: str) -> None:
    grey = name in ("mlp", "vgg-digits")
    torch.manual_seed(0)
    model = models.build(models.resolve(name, num_classes=10, **(GREY if grey else SMALL)))  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert bool((module.weight == 0.5).all())
            assert bool((module.bias == 0).all())
        elif isinstance(module, nn.Conv2d):
            assert module.bias is None
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            spread = module.weight.std().item() * (fan_out / 2) ** 0.5
            assert spread == pytest.approx(1, abs=5 / module.weight.numel() ** 0.5)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vgg19", {"image_size": (8, 8)}, r"image_size = \[8, 8\].*16 pixels"),
        ("vgg-a", {"image_size": (28, 28)}, "32 pixels"),
        ("vgg-digits", {"image_size": (3, 9)}, "4 pixels"),
        ("resnet164", {"depth": 165}, r"depth = 165.*9 n \+ 2"),
        ("resnet164", {"depth": 2}, r"9 n \+ 2"),
        ("densenet40", {"depth": 41}, r"depth = 41.*3 n \+ 4"),
        ("densenet40", {"growth": 0}, "growth = 0"),
        ("vgg11-small", {"width": 0}, "width = 0"),
        ("mlp", {"hidden": [500, 0]}, r"hidden = \[500, 0\]"),
    ],
)
def test_impossible_sizes_are_named(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(name, **({"num_classes": 10} | SMALL | arguments))
