"""Replace parametrized weights (weight norm, spectral norm, orthogonal) by the values that they compute."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["store_computed_weights"]


def store_computed_weights(model: nn.Module) -> None:
    """Give every layer of `model` that has parametrizations plain tensors instead. Changes `model`.

    In eval mode the values are constants, and some of the functions that compute them have no operator in
    ONNX. `parametrize.remove_parametrizations` is not used: it deletes a property of the class of the layer,
    and copies of a model share that class with the model.
    """
    for layer in list(model.modules()):
        if not parametrize.is_parametrized(layer):
            continue
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        with torch.no_grad():
            values = {name: getattr(layer, name).detach().clone() for name in layer.parametrizations}
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        for name, value in values.items():
            layer.register_buffer(name, value)
