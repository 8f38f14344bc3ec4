"""Carry an optimizer over to a slim network: the same kind, settings and momentum, over its parameters."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError
from netslim.pruning.apply_plan import AppliedPlan

__all__ = ["transfer_optimizer"]


def transfer_optimizer(optimizer: torch.optim.Optimizer, operation: AppliedPlan) -> torch.optim.Optimizer:
    """A new optimizer of the same class, over the slim network's parameters, in the same groups.

    State that has a parameter's shape (momentum, Adam's moments) is narrowed as the parameter was; other
    state (step counts) is copied. A bias that compensation added joins the group of its layer's weight. The
    optimizer given is not changed; a learning-rate scheduler has to be made anew.

    Raises:
        ModelError: it optimizes parameters that are not the pruned model's.
    """
    added = {id(weight): bias for bias, weight in operation.added}
    groups, state = [], {}
    for group in optimizer.param_groups:
        parameters: list[nn.Parameter] = []
        for old in group["params"]:
            if id(old) not in operation.parameters:
                remedy = "Give the optimizer of the model that is pruned"
                raise ModelError(
                    "holds a parameter that is not the model's", field="optimizer", remedy=remedy
                )
            new, cut = operation.parameters[id(old)]
            parameters.append(new)
            if id(old) in added:
                parameters.append(added[id(old)])
            state[new] = {
                name: _narrow(value, old, cut) for name, value in optimizer.state.get(old, {}).items()
            }
        groups.append({**group, "params": parameters})
    accepted = inspect.signature(type(optimizer)).parameters
    settings = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    new_optimizer = type(optimizer)(groups, **settings)
    new_optimizer.state.update({new: values for new, values in state.items() if values})
    return new_optimizer


def _narrow(value: Any, old: Tensor, cut: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return cut(value) if value.shape == old.shape and value.dim() else value.clone()
