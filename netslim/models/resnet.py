"""The paper's pre-activation residual network with bottlenecks (He et al., Identity Mappings, 2016)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netslim.errors import ModelError
from netslim.models.init import he

__all__ = ["resnet164"]


class Bottleneck(nn.Module):
    """BatchNorm and ReLU come before each convolution: 1 x 1, 3 x 3, then 1 x 1 to four times `width`.

    Where the shape changes, the shortcut is a convolution that reads the activated input, as in He's code.
    """

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut = None if same_shape else nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        x = F.relu(self.bn1(stream))
        shortcut = stream if self.shortcut is None else self.shortcut(x)
        x = self.conv1(x)
        x = self.conv2(F.relu(self.bn2(x)))
        x = self.conv3(F.relu(self.bn3(x)))
        return torch.add(x, shortcut)


def resnet164(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    depth: int = 164,
) -> nn.Sequential:
    """Pre-activation ResNet for CIFAR and SVHN: 1,703,258 parameters for 10 classes, 1,726,388 for 100.

    Args:
        depth: 9 n + 2 layers make n bottlenecks in each of three stages, of widths 16, 32 and 64.

    Raises:
        ModelError: `depth` is not 9 n + 2.
    """
    blocks, rest = divmod(depth - 2, 9)
    if blocks < 1 or rest:
        raise ModelError("must be 9 n + 2", field="depth", value=depth, remedy="Take 11, 20, 29, ... or 164")
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
    )
    channels = 16
    for number, width in enumerate((16, 32, 64), start=1):
        stage = nn.Sequential()
        for index in range(blocks):
            stage.append(Bottleneck(channels, width, stride=2 if number > 1 and index == 0 else 1))
            channels = 4 * width
        stages[f"stage{number}"] = stage
    tail = OrderedDict(
        bn=nn.BatchNorm2d(channels),
        relu=nn.ReLU(inplace=True),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(channels, num_classes),
    )
    return he(nn.Sequential(stages | tail))
