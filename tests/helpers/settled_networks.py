"""The networks of `tests.helpers.networks`, settled on one batch, and the factors that a plain sort ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tests.helpers.networks import NETWORKS
from tests.helpers.proof import settled

__all__ = ["IMAGES", "factors_of", "network"]

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return settled(NETWORKS[name](), IMAGES)


def factors_of(model: nn.Module, norm: str) -> np.ndarray:
    return np.abs(model.get_parameter(f"{norm}.weight").detach().numpy())
