"""SGD with momentum: torch's own fused kernel, called directly.

`torch.optim.SGD` computes the same bits (a test compares them). But the first `torch.optim.Optimizer` imports
torch's compiler, 900 modules and two seconds, and a pipeline trains in many short processes. The bare kernel
also takes half the time per step on small networks, and its state is one list of tensors.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from netslim.nn import _torch

__all__ = ["SGD"]


class SGD:
    """Stochastic gradient descent with (Nesterov) momentum and weight decay, without dampening.

    `velocity` has the momentum of each trainable parameter, in the parameter's memory layout, as the kernel
    needs. A parameter without a gradient does not change in that step.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, nesterov: bool, weight_decay: float
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.velocity = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def zero_grad(self) -> None:
        """Remove the gradients, so that the next backward pass does not add to them."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float | Tensor) -> None:
        """Update the parameters and `velocity` in place.

        Args:
            lr: the learning rate. A CUDA graph reads it from a tensor, float32[] on the parameters' device;
                a plain number would stay in the graph.
        """
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        velocity: list[Tensor] = []
        for parameter, speed in zip(self.parameters, self.velocity, strict=True):
            if parameter.grad is not None:
                parameters.append(parameter)
                gradients.append(parameter.grad)
                velocity.append(speed)
        if parameters:
            _torch.fused_sgd_(
                parameters,
                gradients,
                velocity if self.momentum else [],
                lr=lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
                dampening=0.0,
                maximize=False,
                is_first_step=False,
            )
