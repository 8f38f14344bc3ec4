"""Check that a network fits a dataset, before any time is spent on training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netslim.errors import ModelError, first_line

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_fit"]


def check_fit(model: nn.Module, *, num_classes: int, in_channels: int, image_size: tuple[int, int]) -> None:
    """Run the network on two blank images in eval mode; afterwards every module has its old mode.

    Raises:
        ModelError: its weights are not float32 or have no values, it fails on such images, or it does not
            return [2, num_classes] logits.
    """
    import torch

    from netslim.nn.modes import eval_mode

    _check_weights(model)
    parameter = next(model.parameters(), torch.empty(0))
    blank = torch.zeros(2, in_channels, *image_size, dtype=parameter.dtype, device=parameter.device)
    described = f"images of {in_channels} x {image_size[0]} x {image_size[1]}"
    try:
        with eval_mode(model), torch.no_grad():
            out = model(blank)
    except (Exception, SystemExit) as error:  # a user's network may raise anything
        remedy = "Choose another network, or resize the images when the dataset is prepared"
        problem = f"it cannot read {described} ({first_line(error)})"
        raise ModelError(problem, field="model", remedy=remedy) from error
    shape = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
    if shape != [2, num_classes]:
        problem = f"for two {described} it returns {shape}, not [2, {num_classes}]"
        remedy = "It must return one logit per class of the dataset, and nothing else"
        raise ModelError(problem, field="model", remedy=remedy)


def _check_weights(model: nn.Module) -> None:
    """Training computes in float32; the recipe's `precision` decides about bfloat16."""
    import torch

    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            remedy = "The factory must return initialised weights, not those of torch.device('meta')"
            raise ModelError(f"{name} has no values", field="model", remedy=remedy)
    for name, parameter in model.named_parameters():
        if parameter.dtype != torch.float32:
            dtype = str(parameter.dtype).removeprefix("torch.")
            remedy = "Let the factory return the network in float32, such as by model.float()"
            raise ModelError(f"{name} is {dtype}, not float32", field="model", remedy=remedy)
