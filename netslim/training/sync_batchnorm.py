"""BatchNorm over a batch that is spread over processes: its statistics and gradients are the whole batch's.

torch's own SyncBatchNorm does the same, but on GPUs only; there it is used. At each layer the host waits
until it has the numbers of images of all processes: one reason why several processes train without a
CUDA graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.nn import _torch
from netslim.nn.channel_select import ChannelSelect
from netslim.training import distributed

__all__ = ["synchronised"]


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Make every BatchNorm of `model` normalise over all processes' shards of the batch, for a block.

    The modules stay the same objects of the same classes: only a method is replaced. With one process
    nothing is changed.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)] if distributed.size() > 1 else []
    # A channel select stays around the normalisation.
    methods = [(m, "normalise" if isinstance(m, ChannelSelect) else "forward") for m in norms]
    for module, name in methods:
        setattr(module, name, partial(_forward, module))
    try:
        yield
    finally:
        for module, name in methods:
            delattr(module, name)


def _forward(module: _BatchNorm, images: Tensor) -> Any:
    if not module.training:
        return _BatchNorm.forward(module, images)
    momentum = module.momentum
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
        if momentum is None:  # a cumulative average
            momentum = 1.0 / float(module.num_batches_tracked)
    statistics = (module.running_mean, module.running_var, module.eps, momentum)
    normalise = _torch.sync_batchnorm_on_gpu if images.is_cuda else _Normalise.apply
    return normalise(images, module.weight, module.bias, *statistics)


class _Normalise(torch.autograd.Function):
    """Batch normalisation of x[batch, channels, ...] in float32 or better, with sums over all processes.

    With normal = (x - mean) / sqrt(variance + eps) and the gradient g of the result, the gradient of x is

        weight / sqrt(variance + eps) * (g - mean(g) - normal * mean(g * normal))

    where every mean is per channel and over the whole batch.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        eps: float,
        momentum: float,
    ) -> Tensor:
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [axis for axis in range(x.dim()) if axis != 1]
        channels = x.shape[1]
        # The mean first, then the variance: the mean of squares minus the squared mean would cancel.
        sums = torch.cat([full.sum(axes), full.new_tensor([x.numel() / channels])])
        distributed.all_reduce_sum(sums)
        count = sums[-1]
        mean = sums[:-1] / count
        centred = full - _per_channel(mean, x)
        variance = distributed.all_reduce_sum(centred.square().sum(axes)) / count
        scale = (variance + eps).rsqrt()
        normal = centred * _per_channel(scale, x)
        ctx.save_for_backward(normal, scale, weight, count)
        ctx.axes, ctx.has_bias = axes, bias is not None
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * count / (count - 1), momentum)
        result = normal
        if weight is not None:
            result = result * _per_channel(weight, x)
        if bias is not None:
            result = result + _per_channel(bias, x)
        return result.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale, weight, count = ctx.saved_tensors
        g = gradients[0].to(normal.dtype)
        sum_g, sum_g_normal = g.sum(ctx.axes), (g * normal).sum(ctx.axes)
        # Of this process's shard: DistributedDataParallel adds up the gradients of parameters.
        grad_weight = sum_g_normal if weight is not None else None
        grad_bias = sum_g if ctx.has_bias else None
        means = distributed.all_reduce_sum(torch.cat([sum_g, sum_g_normal])) / count
        mean_g, mean_g_normal = means.chunk(2)
        factor = scale if weight is None else scale * weight
        inner = g - _per_channel(mean_g, g) - normal * _per_channel(mean_g_normal, g)
        grad_x = (inner * _per_channel(factor, g)).to(gradients[0].dtype)
        return grad_x, grad_weight, grad_bias, None, None, None, None


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """One value per channel, in a shape that broadcasts over `like`[batch, channels, ...]."""
    return values.view(-1, *(1,) * (like.dim() - 2))
