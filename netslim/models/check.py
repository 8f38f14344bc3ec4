"""Does a network fit a dataset? Asked once, before any time is spent on training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netslim.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_fit"]


def check_fit(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
    """Pass two blank images through the network in eval mode; its modes are put back, nothing else changes.

    Raises:
        ModelError: the network refuses such images, or does not return [2, num_classes] logits.
    """
    import torch

    from netslim.nn.modes import eval_mode

    parameter = next(model.parameters(), torch.empty(0))
    blank = torch.zeros(2, in_channels, *image_size, dtype=parameter.dtype, device=parameter.device)
    given = f"images of {in_channels} x {image_size[0]} x {image_size[1]}"
    try:
        with eval_mode(model), torch.no_grad():
            out = model(blank)
    except Exception as error:  # any network of the user's may raise anything here
        remedy = "Choose another network, or resize the images when the dataset is prepared"
        raise ModelError(f"it cannot read {given} ({error})", field="model", remedy=remedy) from error
    shape = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if shape != [2, num_classes]:
        problem = f"for two {given} it returns {shape}, not [2, {num_classes}]"
        remedy = "It must return one logit per class of the dataset, and nothing else"
        raise ModelError(problem, field="model", remedy=remedy)
