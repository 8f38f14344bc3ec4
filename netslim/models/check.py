"""Check that a network fits a dataset, before any time is spent on training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netslim.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_fit"]


def check_fit(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
    """Run the network on two blank images in eval mode; afterwards every module has its old mode.

    Raises:
        ModelError: the network fails on such images, or does not return [2, num_classes] logits.
    """
    import torch

    from netslim.nn.modes import eval_mode

    parameter = next(model.parameters(), torch.empty(0))
    blank = torch.zeros(2, in_channels, *image_size, dtype=parameter.dtype, device=parameter.device)
    described = f"images of {in_channels} x {image_size[0]} x {image_size[1]}"
    try:
        with eval_mode(model), torch.no_grad():
            out = model(blank)
    except Exception as error:  # a user's network may raise any exception
        remedy = "Choose another network, or resize the images when the dataset is prepared"
        raise ModelError(f"it cannot read {described} ({error})", field="model", remedy=remedy) from error
    shape = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if shape != [2, num_classes]:
        problem = f"for two {described} it returns {shape}, not [2, {num_classes}]"
        remedy = "It must return one logit per class of the dataset, and nothing else"
        raise ModelError(problem, field="model", remedy=remedy)
