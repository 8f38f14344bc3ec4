"""Adversarial training: each image is moved in the direction in which its loss rises fastest.

It regularises, as weight decay does, and unlike augmentation uses no knowledge of images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netslim.training.loss import training_loss
from netslim.training.recipe import Recipe

__all__ = ["adversarial_examples"]


def adversarial_examples(
    model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, weight: Tensor | None = None
) -> Tensor:
    """The images, each moved by `recipe.adversarial` in the direction in which its loss rises fastest.

    The fast gradient method (Goodfellow et al. 2015), with Euclidean length (Miyato et al. 2017). To first
    order, the loss of the moved image is its loss plus `adversarial` times the length of the loss's gradient
    with respect to the pixels. Parameters and their gradients do not change; BatchNorm's running statistics
    are updated with the images.

    Args:
        model: in train mode, where BatchNorm makes each image's output depend on the whole batch.
        images: normalised, float32[batch, channels, height, width].
        labels: int64[batch].
        recipe: `adversarial` and `label_smoothing`.
        weight: a factor on the gradient, where the batch is one process's share; None for 1.

    Returns:
        float32[batch, channels, height, width], without a gradient.
    """
    images = images.detach().requires_grad_()
    loss = training_loss(model(images), labels, None, recipe)
    (gradient,) = torch.autograd.grad(loss, images, weight)
    length: Tensor = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), keepdim=True)
    return images.detach() + recipe.adversarial * gradient / length.clamp_min(1e-12)
