"""One optimizer step of training with sparsity: the paper's section 3 in code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netslim import sparsity
from netslim.nn.modes import unwrap
from netslim.training.adversarial import adversarial_examples
from netslim.training.loss import logits_of, training_loss
from netslim.training.recipe import Recipe
from netslim.training.sgd import SGD

if TYPE_CHECKING:
    from netslim.training.loaders.in_memory import Batch

__all__ = ["train_step"]


def train_step(
    model: nn.Module,
    batch: Batch,
    recipe: Recipe,
    optimizer: SGD,
    gammas: Sequence[nn.Parameter],
    lambda_: float | Tensor,
    *,
    lr: float | Tensor,
    teacher: nn.Module | None = None,
    loss_weight: Tensor | None = None,
    autocast: AbstractContextManager[object] = nullcontext(),  # noqa: B008  (it has no state)
) -> tuple[Tensor, Tensor]:
    """Lower the loss of one batch plus `lambda_` times the L1 norm of the scaling factors.

    Changes the model's weights, gradients and BatchNorm statistics, and the optimizer's momentum.

    Args:
        model: in train mode; may be wrapped in DistributedDataParallel.
        batch: images and labels, on the model's device.
        recipe: the loss, the form of the L1 term, and the momentum.
        optimizer: of the model's parameters.
        gammas: the model's scaling factors.
        lambda_: the weight of the L1 term; the number 0 for none.
        lr: the learning rate of this step. Where a CUDA graph repeats the step, it and `lambda_` are
            float32[] on the model's device: the graph would keep plain numbers.
        teacher: the network to distil from, in eval mode.
        loss_weight: a factor on the gradient, where the batch is one process's share; None for 1.
        autocast: the precision of the forward pass.

    Returns:
        The loss without the L1 term, and the number of wrong answers: two scalars on the device.
    """
    images, labels = batch
    optimizer.zero_grad()
    with autocast:
        if recipe.adversarial:
            images = adversarial_examples(unwrap(model), images, labels, recipe, loss_weight)
        teacher_logits = None
        if teacher is not None:
            with torch.no_grad():
                teacher_logits = logits_of(teacher(images))
        outputs = model(images)
        loss = training_loss(outputs, labels, teacher_logits, recipe)
    loss.backward(loss_weight)  # type: ignore[no-untyped-call]
    sparse = isinstance(lambda_, Tensor) or lambda_ != 0  # bool() of a tensor would wait for the device
    if sparse and recipe.penalty == "l1":
        sparsity.add_l1_subgradient(gammas, lambda_)
    elif sparse and recipe.penalty == "smooth-l1":
        sparsity.add_smooth_l1(gammas, lambda_)
    optimizer.step(lr)
    if sparse and recipe.penalty == "proximal":
        sparsity.apply_proximal(gammas, lambda_, lr, recipe.momentum)
    error_count = (logits_of(outputs).detach().argmax(1) != labels).sum()
    return loss.detach(), error_count
