"""Single options of a training step, each as a block in which it is switched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from netslim.nn import _torch


@contextmanager
def cudnn_benchmark() -> Iterator[None]:
    """cuDNN tries its algorithms for each shape and takes the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def foreach_sgd() -> Iterator[None]:
    """The same update by one call per operation for all tensors, instead of the fused kernel."""

    def update(
        parameters: list[Tensor], gradients: list[Tensor], velocity: list[Tensor],
        *, lr: Tensor, momentum: float, weight_decay: float, **_: object,
    ) -> None:  # fmt: skip
        changed = torch._foreach_add(gradients, parameters, alpha=weight_decay)
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, changed)
        torch._foreach_add_(changed, velocity, alpha=momentum)  # Nesterov
        torch._foreach_mul_(changed, lr)
        torch._foreach_sub_(parameters, changed)

    with _replaced(_torch, "fused_sgd_", update):
        yield


@contextmanager
def contiguous_weights() -> Iterator[None]:
    """Channels first in memory, which may be faster where layers have few channels."""
    from netslim.training import device as module
    from netslim.training.loaders import in_memory

    call = in_memory.Normalise.__call__

    def contiguous(self: Any, rows: Tensor) -> Tensor:
        return call(self, rows).contiguous()

    with (
        _replaced(module, "_to_memory_format", lambda model, memory_format: model),
        _replaced(in_memory.Normalise, "__call__", contiguous),
    ):
        yield


@contextmanager
def bf16_weights() -> Iterator[None]:
    """Copies of the weights in bf16, made by one call per step instead of one cast per layer and pass."""
    from torch.func import functional_call

    from netslim.training import step_runner

    original = step_runner.train_step

    def train_step(
        model: nn.Module, batch: Any, recipe: Any, optimizer: Any, *rest: Any, **named: Any
    ) -> Any:
        wide = {name: p for name, p in model.named_parameters() if p.dim() > 1}
        copies = {
            name: torch.empty_like(p, dtype=torch.bfloat16).requires_grad_() for name, p in wide.items()
        }
        with torch.no_grad():
            torch._foreach_copy_(list(copies.values()), list(wide.values()))
        step = optimizer.step

        def with_gradients(lr: Any) -> None:
            for parameter in wide.values():
                parameter.grad = torch.empty_like(parameter)
            gradients = [p.grad for p in wide.values() if p.grad is not None]
            torch._foreach_copy_(gradients, [c.grad for c in copies.values() if c.grad is not None])
            step(lr)

        class Copied(nn.Module):
            def forward(self, images: Tensor) -> Any:
                return functional_call(model, copies, (images,))

        with _replaced(optimizer, "step", with_gradients):
            return original(Copied(), batch, recipe, optimizer, *rest, **named)

    with _replaced(step_runner, "train_step", train_step):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


OPTIONS = {
    "cudnn.benchmark": cudnn_benchmark,
    "weights in bf16": bf16_weights,
    "SGD by foreach": foreach_sgd,
    "channels first": contiguous_weights,
}
