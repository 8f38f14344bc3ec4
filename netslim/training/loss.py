"""What training minimises: cross-entropy with the labels, and with a teacher's answers where there is one."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from netslim.training.recipe import Recipe

__all__ = ["logits_of", "training_loss"]

AUXILIARY = 0.3
"""Weight of an auxiliary classifier (GoogLeNet, Inception), from the GoogLeNet paper."""


def training_loss(outputs: Any, labels: Tensor, taught: Tensor | None, recipe: Recipe) -> Tensor:
    """The loss of one batch, a float32 scalar. The sparsity term is not in it: see `netslim.sparsity`.

    Args:
        outputs: what the network returned: logits [batch, classes], or a tuple that begins with them and goes
            on with the logits of auxiliary classifiers.
        labels: int64[batch].
        taught: the teacher's logits for the same images, or None.
        recipe: `label_smoothing`, `distill` and `temperature`.
    """
    heads = [outputs] if isinstance(outputs, Tensor) else [head for head in outputs if head is not None]
    loss = _against(heads[0], labels, taught, recipe)
    for head in heads[1:]:
        loss = loss + AUXILIARY * _against(head, labels, taught, recipe)
    return loss


def logits_of(outputs: Any) -> Tensor:
    """The main classifier's logits among what a network returned."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def _against(logits: Tensor, labels: Tensor, taught: Tensor | None, recipe: Recipe) -> Tensor:
    logits = logits.float()  # under autocast: the loss is summed in full precision
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if taught is None:
        return loss
    heat = recipe.temperature
    soft = F.kl_div(
        F.log_softmax(logits / heat, dim=1),
        F.log_softmax(taught.float() / heat, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    # heat^2 keeps the soft gradient's size independent of the temperature (Hinton et al. 2015).
    return (1 - recipe.distill) * loss + recipe.distill * heat**2 * soft
