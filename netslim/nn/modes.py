"""The mode of every module (train or eval), set for a while; and the module inside its wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["eval_mode", "restored_modes", "unwrap"]


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Give each module, at the end of the block, the mode that it had at the beginning."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode for a block; afterwards each module has the mode that it had before."""
    with restored_modes(model):
        model.eval()
        yield


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel and torch.compile, in any order and depth."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model
