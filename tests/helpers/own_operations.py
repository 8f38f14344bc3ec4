"""Operations of the user's own, computed by NumPy or by an extension, and functions of PyTorch like them.

Of the operators only `pool` has a kernel for shapes.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision  # noqa: F401  (it defines an operator)
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

__all__ = [
    "Block",
    "NumpyRelu",
    "Same",
    "WithSetup",
    "contrast",
    "curve",
    "deformable",
    "fused",
    "join",
    "like_block",
    "like_curve",
    "like_deformable",
    "like_fused",
    "like_mix",
    "like_pool",
    "like_relu",
    "like_scale",
    "mix",
    "numpy_relu",
    "pool",
    "positive_",
    "rank",
    "scale",
]


@torch.library.custom_op("netslim_tests::scale", mutates_args=())
def scale(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Value by value, with two parameters of each channel."""
    return torch.from_numpy(x.numpy().clip(0) * _column(factor).numpy() + _column(shift).numpy())


def like_scale(x: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    return F.relu(x) * factor.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def _column(vector: Tensor) -> Tensor:
    return vector.detach().view(1, -1, 1, 1)


@torch.library.custom_op("netslim_tests::pool", mutates_args=())
def pool(x: Tensor, power: float) -> Tensor:
    """Pooling that is no mean, but gives a constant for a constant."""
    return (x.clamp(min=0.01) ** power).mean((2, 3)) ** (1 / power)


@pool.register_fake
def _(x: Tensor, power: float) -> Tensor:
    return x.new_empty(x.shape[:2])


def like_pool(x: Tensor, power: float) -> Tensor:
    return x.clamp(min=0.01).mean((2, 3))


@torch.library.custom_op("netslim_tests::contrast", mutates_args=())
def contrast(x: Tensor) -> Tensor:
    """A constant stays as it is, but one that is added to anything else does not pass."""
    return x * x.abs() / (x.abs().mean((2, 3), keepdim=True) + 1e-15)


@torch.library.custom_op("netslim_tests::fused", mutates_args=())
def fused(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """A convolution, a BatchNorm and an activation."""
    factor = gamma / (var + 1e-5).sqrt()
    bias = beta - mean * factor
    return F.conv2d(x, weight * factor.view(-1, 1, 1, 1), bias).clamp(min=0)


def like_fused(x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.relu(F.batch_norm(F.conv2d(x, weight), mean, var, gamma, beta))


@torch.library.custom_op("netslim_tests::mix", mutates_args=())
def mix(x: Tensor, weight: Tensor) -> Tensor:
    """Every output reads every input."""
    return torch.einsum("oc,nchw->nohw", weight, x)


def like_mix(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x.movedim(1, -1), weight).movedim(-1, 1)


@torch.library.custom_op("netslim_tests::join", mutates_args=())
def join(tensors: list[Tensor]) -> Tensor:
    return torch.cat(tensors, 1)


@torch.library.custom_op("netslim_tests::rank", mutates_args=())
def rank(x: Tensor) -> Tensor:
    """Reads all channels in a way that no rule follows."""
    return x.sort(1)[0]


@torch.library.custom_op("netslim_tests::positive_", mutates_args={"x"})
def positive_(x: Tensor) -> None:
    x.clamp_(min=0)


_LIBRARY = torch.library.Library("netslim_tests_2", "DEF")
_LIBRARY.define("curve(Tensor x, *, float by) -> Tensor")
_LIBRARY.impl("curve", lambda x, *, by: (x * by).tanh(), "CPU")
curve = torch.ops.netslim_tests_2.curve


def like_curve(x: Tensor, *, by: float) -> Tensor:
    return (x * by).tanh()


deformable = torch.ops.torchvision.deform_conv2d


def like_deformable(
    x: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> Tensor:
    stride, padding, dilation = settings[0:2], settings[2:4], settings[4:6]
    return F.conv2d(x, weight, bias, stride, padding, dilation) + 0 * offset.mean()


class NumpyRelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, least: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy().clip(least))


numpy_relu = NumpyRelu.apply


def like_relu(x: Tensor, least: float) -> Tensor:
    return x.clamp(least)


class WithSetup(Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(x.detach().numpy().clip(0))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # type: ignore[override]
        ctx.saved = float(inputs[0].sum())


class Same(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.from_numpy(x.detach().numpy().copy())


class Block(nn.Module):
    """A block whose layers only hold the weights that an extension reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Any:
        norm = self.norm
        with torch.no_grad():
            return fused(x, self.conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)


def like_block(block: Block, x: Tensor) -> Tensor:
    return F.relu(block.norm.eval()(block.conv(x)))
