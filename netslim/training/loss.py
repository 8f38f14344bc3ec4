"""The loss of training: cross-entropy with the labels and, for distillation, with a teacher's outputs."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from netslim.training.recipe import Recipe

__all__ = ["logits_of", "training_loss"]

AUXILIARY = 0.3
"""Weight of an auxiliary classifier (GoogLeNet, Inception), from the GoogLeNet paper."""


def training_loss(outputs: Any, labels: Tensor, teacher_logits: Tensor | None, recipe: Recipe) -> Tensor:
    """The loss of one batch, a float32 scalar, without the L1 term (see `netslim.sparsity`).

    Args:
        outputs: the network's output: logits [batch, classes], or a tuple of them and the logits (or None) of
            auxiliary classifiers.
        labels: int64[batch].
        teacher_logits: the teacher's logits for the same images, or None without distillation.
        recipe: `label_smoothing`, `distill` and `temperature`.
    """
    heads = [outputs] if isinstance(outputs, Tensor) else [head for head in outputs if head is not None]
    loss = _loss_of(heads[0], labels, teacher_logits, recipe)
    for head in heads[1:]:
        loss = loss + AUXILIARY * _loss_of(head, labels, teacher_logits, recipe)
    return loss


def logits_of(outputs: Any) -> Tensor:
    """The main classifier's logits in a network's output."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def _loss_of(logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, recipe: Recipe) -> Tensor:
    logits = logits.float()  # under autocast: the loss is summed in full precision
    loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    if teacher_logits is None:
        return loss
    temperature = recipe.temperature
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher_logits.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    # temperature^2 keeps the soft gradient's size independent of the temperature (Hinton et al. 2015).
    return (1 - recipe.distill) * loss + recipe.distill * temperature**2 * soft
