"""The paper's fully connected network for MNIST: neurons are slimmed as channels of 1 x 1 (section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from netslim.errors import ModelError
from netslim.models.init import he

__all__ = ["mlp"]


def mlp(
    *,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: Sequence[int] = (28, 28),
    hidden: Sequence[int] = (500, 300),
) -> nn.Sequential:
    """Linear layers, each hidden one with BatchNorm (in place of a bias) and ReLU; 784-500-300-10 for MNIST.

    Raises:
        ModelError: a hidden layer has no neurons.
    """
    if any(neurons < 1 for neurons in hidden):
        raise ModelError("each layer needs a neuron", field="hidden", value=list(hidden))
    layers: list[nn.Module] = [nn.Flatten()]
    features = in_channels * math.prod(image_size)
    for neurons in hidden:
        layers += [nn.Linear(features, neurons, bias=False), nn.BatchNorm1d(neurons), nn.ReLU(inplace=True)]
        features = neurons
    return he(nn.Sequential(*layers, nn.Linear(features, num_classes)))
