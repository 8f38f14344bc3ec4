"""Adversarial training: learning from images moved to where the network does worse, to be steady around them.

It regularises, as weight decay does, and knows nothing about images, which augmentation does.
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
    order, the loss there is the loss here plus `adversarial` times the length of its gradient in the pixels.
    Parameters and their gradients are left alone; BatchNorm's running statistics take the images in.

    Args:
        model: in training mode, where its BatchNorm ties the images of a batch together.
        images: normalised, float32[batch, channels, height, width].
        labels: int64[batch].
        recipe: `adversarial` and `label_smoothing`.
        weight: of this process's loss among several's, a scalar.
    """
    images = images.detach().requires_grad_()
    loss = training_loss(model(images), labels, None, recipe)
    (slope,) = torch.autograd.grad(loss, images, weight)
    length: Tensor = torch.linalg.vector_norm(slope, dim=(1, 2, 3), keepdim=True)
    return images.detach() + recipe.adversarial * slope / length.clamp_min(1e-12)
