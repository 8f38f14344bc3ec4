"""The error of a PyTorch model on a split. An ONNX model is measured by `netslim.onnx_export.runtime`,
without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from netslim.nn.modes import eval_mode
from netslim.training import distributed
from netslim.training.loaders.in_memory import ordered
from netslim.training.loss import logits_of
from netslim.training.precision import float32_products

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, Split

__all__ = ["evaluate"]


def evaluate(model: nn.Module, split: Split, info: DatasetInfo, *, batch_size: int | None = None) -> float:
    """The share of a split's images that the model classifies wrongly, in percent.

    The model runs in eval mode and true float32 (without TF32), on its device; afterwards every module has
    its old mode. With several processes (`netslim.training.distributed`) each takes a part of the split, and
    all return the error of the whole split.

    Args:
        batch_size: images per batch; by default from 8 to 500, by the size of an image and the device.
    """
    device = next(model.parameters()).device
    if batch_size is None:  # on a CPU 128 images of CIFAR's size: the activations of more leave the cache
        batch_size = info.batch_of(2**17 if device.type == "cpu" else 2**22, least=8, most=500)
    error_count = torch.zeros((), dtype=torch.int64, device=device)
    with eval_mode(model), torch.inference_mode(), float32_products(device, tf32=False):
        for images, labels in ordered(split, info, batch_size=batch_size, device=device):
            error_count += (logits_of(model(images)).argmax(1) != labels).sum()
    return 100.0 * int(distributed.all_reduce_sum(error_count)) / len(split)
