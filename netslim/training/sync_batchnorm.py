"""BatchNorm over a batch that is spread over processes: its statistics and gradients are the whole batch's.

torch's own SyncBatchNorm does the same on GPUs, and refuses to on a CPU; it does the work where it can.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as OnGPU
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.training import distributed

__all__ = ["synchronised"]


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Have every BatchNorm of `model` normalise over all processes' parts of the batch, for a block.

    The modules stay the same objects of the same classes. With one process nothing is done.
    """
    found = [m for m in model.modules() if isinstance(m, _BatchNorm)] if distributed.size() > 1 else []
    for module in found:
        module.forward = partial(_forward, module)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _forward(module: _BatchNorm, images: Tensor) -> Any:
    if not module.training:
        return _BatchNorm.forward(module, images)
    share = module.momentum
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if share is None:  # a cumulative average
            share = 1.0 / float(module.num_batches_tracked)
    given = (images, module.weight, module.bias, module.running_mean, module.running_var, module.eps, share)
    if images.is_cuda:
        return OnGPU.apply(*given, dist.group.WORLD, distributed.size())
    return _Normalise.apply(*given)


class _Normalise(torch.autograd.Function):
    """Batch normalisation of x[batch, channels, ...] in float32 at least; sums per channel are shared."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        share: float,
    ) -> Tensor:
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [axis for axis in range(x.dim()) if axis != 1]
        channels = x.shape[1]
        # Two rounds rather than the mean of squares less the square of the mean, which cancels.
        counted = torch.cat([full.sum(axes), full.new_tensor([x.numel() / channels])])
        distributed.all_reduce_sum(counted)
        count = counted[-1]
        mean = counted[:-1] / count
        centred = full - _wide(mean, x)
        variance = distributed.all_reduce_sum(centred.square().sum(axes)) / count
        scale = (variance + eps).rsqrt()
        normal = centred * _wide(scale, x)
        ctx.save_for_backward(normal, scale, weight, count)
        ctx.axes, ctx.biased = axes, bias is not None
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, share)
            running_var.lerp_(variance * count / (count - 1), share)
        result = normal
        if weight is not None:
            result = result * _wide(weight, x)
        if bias is not None:
            result = result + _wide(bias, x)
        return result.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight, count = ctx.saved_tensors
        given = gradients[0].to(normal.dtype)
        along, onto = given.sum(ctx.axes), (given * normal).sum(ctx.axes)
        for_weight = onto if weight is not None else None  # of this process's part: DDP adds them up
        for_bias = along if ctx.biased else None
        both = distributed.all_reduce_sum(torch.cat([along, onto])) / count
        along, onto = both.chunk(2)
        factor = scale if weight is None else scale * weight
        inner = given - _wide(along, given) - normal * _wide(onto, given)
        for_x = (inner * _wide(factor, given)).to(gradients[0].dtype)
        return for_x, for_weight, for_bias, None, None, None, None


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """One value per channel, in the shape that goes with `like`."""
    return values.view(-1, *(1,) * (like.dim() - 2))
