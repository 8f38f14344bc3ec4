"""Random factors and a mask set in place: the truth for networks that are too large to be copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["masked_in_place", "norms", "outputs_by_image", "randomise"]


def norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """The BatchNorms with scaling factors. Those of timm have the activation inside."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    return {name: norm for name, norm in found.items() if norm.affine}


def randomise(model: nn.Module, images: Tensor) -> None:
    """Random factors, and running statistics near the real ones, so that signals keep their size."""
    for norm in norms(model).values():
        nn.init.uniform_(norm.weight)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = 1.0
    outputs_by_image(model.train(), images)
    for norm in norms(model).values():
        norm.momentum = 0.1
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.add_(0.1 * torch.randn_like(norm.running_mean))
            norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(1.0, 2.0))


@contextmanager
def masked_in_place(model: nn.Module, kept: Mapping[str, Sequence[int]], shift: int = 0) -> Iterator[None]:
    """gamma = beta = 0 on every channel that the plan does not keep, `shift` channels further on."""
    before = {
        name: (norm.weight.detach().clone(), norm.bias.detach().clone())
        for name, norm in norms(model).items()
    }
    with torch.no_grad():
        for name, norm in norms(model).items():
            gone = torch.ones(norm.num_features, dtype=torch.bool)
            gone[list(kept.get(name, range(norm.num_features)))] = False
            norm.weight[gone.roll(shift)] = 0
            norm.bias[gone.roll(shift)] = 0
        yield
        for name, norm in norms(model).items():
            norm.weight.copy_(before[name][0])
            norm.bias.copy_(before[name][1])


def outputs_by_image(model: nn.Module, images: Tensor) -> Tensor:
    """All outputs, those of auxiliary heads as well, in one row for each image."""
    with torch.no_grad():
        out = model(images)
    parts = list(out.values()) if isinstance(out, dict) else out if isinstance(out, tuple | list) else [out]
    return torch.cat([part.flatten(1) for part in parts], dim=1)
