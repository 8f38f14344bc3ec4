"""A network that exports, with weights as after training."""

from __future__ import annotations

import torch
from torch import nn

SHAPE = (1, 8, 8)


def plain() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
        *(nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU()),
        *(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 9),
            nn.BatchNorm1d(9),
            nn.Dropout(),
            nn.Linear(9, 5),
        ),
    )


def trained(model: nn.Module) -> nn.Module:
    """Set statistics, factors and offsets to random values, as after training: none at its initial value."""
    generator = torch.Generator().manual_seed(3)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * 0.8 + 0.2)
    for parameter in model.parameters():
        parameter.data.mul_(torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1)
    return model
