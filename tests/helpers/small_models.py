"""Small networks of several families, as after training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from netslim import models
from netslim.models import Architecture

SHAPES = {"vgg-digits": (1, 8, 8), "resnet164": (3, 16, 16), "densenet40": (3, 16, 16), "mlp": (1, 6, 6)}
SMALLER: dict[str, dict[str, Any]] = {
    "resnet164": {"depth": 11},
    "densenet40": {"depth": 10},
    "mlp": {"hidden": [20, 12]},
}


def trained(name: str) -> tuple[nn.Module, Architecture]:
    """A small network with statistics and scaling factors of its own."""
    channels, *size = SHAPES[name]
    architecture = models.resolve(
        name, num_classes=5, in_channels=channels, image_size=(size[0], size[1]), **SMALLER.get(name, {})
    )
    torch.manual_seed(0)
    model = models.build(architecture)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.1, 1)
    return model.eval(), architecture
