"""The sparsity term of network slimming: an L1 pull on every BatchNorm scaling factor (paper, section 3).

A scaling factor (gamma) is one entry of the weight of a BatchNorm layer. Three ways to pull factors to zero:

    l1         grad += lam * sign(gamma), the paper's subgradient. Factors end as a ripple of about
               lr * lam / (1 - momentum) around zero: small once the rate has decayed, but never exactly 0.
    smooth-l1  grad += lam * clamp(gamma / width, -1, 1), the paper's alternative, without a jump at zero.
    proximal   gamma = soft-threshold(gamma, lr * lam / (1 - momentum)) after the step: exact zeros.

All three pull with the same total strength, lam * sum(lr) / (1 - momentum); see
`netslim.training.lr_schedule.lambda_for_total_shrinkage`. A subgradient is multiplied by 1 / (1 - momentum)
on its way through the optimizer's momentum, and the proximal step, which does not pass through it, is
multiplied by the same number here.

Where the call belongs, once per optimizer step and not once per micro-batch:

    loss.backward()                     # last micro-batch, when gradients are accumulated
    scaler.unscale_(optimizer)          # with a GradScaler, so that lam is not scaled away
    clip_grad_norm_(...)                # if at all: the penalty is part of the method and is not clipped
    add_l1_subgradient(model, lam)      # or add_smooth_l1; DDP has averaged the gradients by now
    optimizer.step()
    apply_proximal(model, lam, lr)      # instead of the line above the step
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import ModelError
from netslim.nn import _torch
from netslim.nn.modes import unwrap

__all__ = [
    "NEAR_ZERO_SHARE_AT",
    "ZERO_GAMMA",
    "SparsityStats",
    "add_l1_subgradient",
    "add_smooth_l1",
    "apply_proximal",
    "scaling_factors",
    "statistics",
]

ZERO_GAMMA = 1e-4
"""A factor is at zero when |gamma| is below this. Proximal training leaves exactly 0; subgradient training
leaves a ripple of about lr * lam / (1 - momentum). Removing all factors below 1e-4 changed no error in
docs/method.md by more than 0.04 points; at 1e-3 one changed by 0.27, because the weights that read a small
factor can be large."""

NEAR_ZERO_SHARE_AT = 1e-3
"""For display only: the share of factors below this shows during training how far the L1 term has come."""

Factors = nn.Module | Sequence[nn.Parameter]
"""A model, or its factors collected once by a training loop that calls these functions at every step."""

Number = float | Tensor
"""A number, or float32[] on the factors' device. A CUDA graph reads the tensor again at every replay, while a
plain number would stay in the graph. Both give the same factors, up to rounding."""


@dataclass(frozen=True, kw_only=True)
class SparsityStats:
    """How far the factors of one model have gone to zero. Shares are between 0 and 1."""

    total: int
    """Number of scaling factors."""
    zero_share: float
    """Share of factors that are exactly 0."""
    near_zero_share: float
    """Share of factors with |gamma| < `NEAR_ZERO_SHARE_AT`, those at exactly 0 included."""
    counts: tuple[int, ...]
    """Histogram of |gamma|: how many fall into each bin."""
    edges: tuple[float, ...]
    """The bins' borders, one more than there are bins, from 0 to the largest |gamma|."""


def scaling_factors(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The scaling factors of every BatchNorm layer that has them, in the model's order.

    BatchNorm1d, 2d, 3d and SyncBatchNorm count, unless made with `affine=False`; a layer or a weight used
    twice is listed once. Names are as in the bare model (`features.1.weight`), also when `model` is wrapped
    in DataParallel, DistributedDataParallel or torch.compile.

    Raises:
        ModelError: the model has no scaling factor, so network slimming does not apply to it.
    """
    found: list[tuple[str, nn.Parameter]] = []
    seen: set[int] = set()
    for name, module in unwrap(model).named_modules():
        factors = module.weight if isinstance(module, _BatchNorm) else None
        if factors is not None and id(factors) not in seen:
            seen.add(id(factors))
            found.append((f"{name}.weight" if name else "weight", factors))
    if not found:
        raise ModelError(
            "the model has no BatchNorm scaling factors, which network slimming prunes by",
            field=type(unwrap(model)).__name__,
            remedy="Use a variant with BatchNorm (vgg19_bn instead of vgg19)",
        )
    return found


def add_l1_subgradient(factors: Factors, lam: Number) -> None:
    """Add lam * sign(gamma) to the gradient of every factor; sign(0) is 0. Call between backward and step.

    Factors without a gradient (frozen ones, or not part of this loss) are left alone.
    """
    parameters = _parameters(factors)
    if not isinstance(lam, Tensor) and not _on_gpu(parameters):
        for factor in parameters:
            if factor.grad is not None:
                factor.grad.add_(factor.detach().sign(), alpha=lam)
        return
    gammas, gradients = _with_gradients(parameters)
    if gammas:
        _add_scaled(gradients, list(_torch.foreach_sign(gammas)), lam)


def add_smooth_l1(factors: Factors, lam: Number, width: float = 1e-3) -> None:
    """Add the gradient of the smooth L1 norm, lam * clamp(gamma / width, -1, 1), to that of every factor.

    It is the L1 subgradient outside |gamma| < width and falls linearly to 0 inside.
    """
    gammas, gradients = _with_gradients(factors)
    if gammas:
        slopes = _torch.foreach_div(gammas, width)
        _torch.foreach_clamp_max_(slopes, 1.0)
        _torch.foreach_clamp_min_(slopes, -1.0)
        _add_scaled(gradients, list(slopes), lam)


def apply_proximal(factors: Factors, lam: Number, lr: Number, momentum: float = 0.9) -> None:
    """Move every trainable factor towards zero by lr * lam / (1 - momentum). Call after the step.

    This is the proximal step of the L1 norm: what would cross zero stays at exactly 0 (until its loss
    gradient outweighs the pull again). `lr` and `momentum` are those of the step just taken.
    """
    reach = lr * lam / (1.0 - momentum)
    gammas = [factor.detach() for factor in _parameters(factors) if factor.requires_grad]
    if isinstance(reach, Tensor):
        _soft_threshold_(gammas, reach)
    elif _on_gpu(gammas):
        inside = list(_torch.foreach_clamp_max(gammas, reach))
        _torch.foreach_clamp_min_(inside, -reach)
        _torch.foreach_sub_(gammas, inside)  # g - clamp(g, -r, r): the soft threshold without a branch
    else:
        for gamma in gammas:
            _torch.softshrink_(gamma, reach)


@torch.no_grad()
def statistics(factors: Factors, *, bins: int = 50) -> SparsityStats:
    """Shares at and near zero, and the histogram of |gamma| in `bins` equal bins. Nothing is changed."""
    sizes = torch.cat([g.detach().float().abs().flatten().cpu() for g in _parameters(factors)])
    top = max(float(sizes.max()), NEAR_ZERO_SHARE_AT)
    counts, edges = torch.histogram(sizes, bins, range=(0.0, top))
    return SparsityStats(
        total=sizes.numel(),
        zero_share=float((sizes == 0).double().mean()),
        near_zero_share=float((sizes < NEAR_ZERO_SHARE_AT).double().mean()),
        counts=tuple(int(count) for count in counts),
        edges=tuple(edges.tolist()),
    )


def _parameters(factors: Factors) -> list[nn.Parameter]:
    if isinstance(factors, nn.Module):
        return [factor for _, factor in scaling_factors(factors)]
    return list(factors)


def _add_scaled(gradients: list[Tensor], slopes: list[Tensor], lam: Number) -> None:
    """gradients += lam * slopes; `slopes` is overwritten where lam is a tensor."""
    if not isinstance(lam, Tensor):
        _torch.foreach_add_(gradients, slopes, alpha=lam)
        return
    _torch.foreach_mul_(slopes, lam.to(slopes[0].dtype))
    _torch.foreach_add_(gradients, slopes)


def _soft_threshold_(gammas: list[Tensor], reach: Tensor) -> None:
    """gamma = sign(gamma) * max(|gamma| - reach, 0), in place; torch clamps a list by plain numbers only."""
    if not gammas:
        return
    sizes = _torch.foreach_abs(gammas)
    _torch.foreach_add_(sizes, reach.to(gammas[0].dtype), alpha=-1.0)
    _torch.foreach_clamp_min_(sizes, 0.0)
    _torch.foreach_mul_(sizes, _torch.foreach_sign(gammas))
    _torch.foreach_copy_(gammas, sizes)


def _on_gpu(gammas: Sequence[Tensor]) -> bool:
    """Whether calls have to be few, as each launches a kernel. A CPU is faster with a plain loop."""
    return bool(gammas) and gammas[0].is_cuda


def _with_gradients(factors: Factors) -> tuple[list[Tensor], list[Tensor]]:
    gammas: list[Tensor] = []
    gradients: list[Tensor] = []
    for gamma in _parameters(factors):
        if gamma.grad is not None:
            gammas.append(gamma.detach())
            gradients.append(gamma.grad)
    return gammas, gradients
