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

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, Split

__all__ = ["evaluate"]


def evaluate(model: nn.Module, split: Split, info: DatasetInfo, *, batch_size: int | None = None) -> float:
    """The share of a split's images that the model gets wrong, in percent.

    In eval mode and float32, on the device where the model is; its train or eval modes are put back.
    Of several processes (`netslim.training.distributed`) each takes its share, and all get the whole
    split's error. Batches are as large as is fast on the device, from 8 to 500 images, if `batch_size`
    does not say.
    """
    device = next(model.parameters()).device
    if batch_size is None:  # on a CPU 128 images of CIFAR's size: what a layer makes of more leaves the cache
        batch_size = info.batch_of(2**17 if device.type == "cpu" else 2**22, least=8, most=500)
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    with eval_mode(model), torch.inference_mode():
        for images, labels in ordered(split, info, batch_size=batch_size, device=device):
            wrong += (logits_of(model(images)).argmax(1) != labels).sum()
    return 100.0 * int(distributed.all_reduce_sum(wrong)) / len(split)
