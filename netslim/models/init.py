"""Initial weights: He's for convolutions and linear layers, 0.5 for every scaling factor (section 4.3)."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["he", "start_scaling_factors"]

Network = TypeVar("Network", bound=nn.Module)


def he(model: Network) -> Network:
    """Initialise convolutions and linear layers after He et al. (the paper's [13]), in place.

    Convolutions take their variance from the fan-out, as in the code that the paper follows; linear layers
    from the fan-in, because a classifier's fan-out (ten) would make the first logits huge. Biases are 0.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return start_scaling_factors(model)


def start_scaling_factors(model: Network) -> Network:
    """Halve every scaling factor (gamma) in place: 0.5 instead of the usual 1; a 0 stays 0."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            module.weight.data.mul_(0.5)
    return model
