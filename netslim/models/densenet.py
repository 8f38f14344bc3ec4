"""The paper's densely connected network without bottlenecks (Huang et al., 2017)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netslim.errors import ModelError
from netslim.models.init import he

__all__ = ["densenet40"]


class DenseLayer(nn.Module):
    """Adds `growth` channels, computed from all channels so far, behind them."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x)))], 1)


def densenet40(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    depth: int = 40,
    growth: int = 12,
) -> nn.Sequential:
    """DenseNet for CIFAR and SVHN: 1,019,722 parameters for 10 classes, 1,060,132 for 100.

    Args:
        depth: 3 n + 4 layers make n dense layers in each of three blocks.
        growth: channels that each dense layer adds, the paper's k. The stem has 16 channels.

    Raises:
        ModelError: `depth` is not 3 n + 4, or `growth` is below 1.
    """
    layers, rest = divmod(depth - 4, 3)
    if layers < 1 or rest:
        raise ModelError("must be 3 n + 4", field="depth", value=depth, remedy="Take 7, 10, 13, ... or 40")
    if growth < 1:
        raise ModelError("must be at least 1", field="growth", value=growth, remedy="12 is the paper's")
    channels = 16
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    )
    for number in (1, 2, 3):
        parts[f"block{number}"] = nn.Sequential(
            *(DenseLayer(channels + index * growth, growth) for index in range(layers))
        )
        channels += layers * growth
        if number < 3:
            parts[f"transition{number}"] = _transition(channels)
    tail = OrderedDict(
        bn=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(channels, num_classes),
    )
    return he(nn.Sequential(parts | tail))


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.AvgPool2d(2),
    )
