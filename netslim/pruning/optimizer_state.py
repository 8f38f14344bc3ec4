"""Transfer an optimizer to a slim network: the same class, settings and state, over its parameters."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError
from netslim.pruning.apply_plan import AppliedPlan, SliceFn

__all__ = ["transfer_optimizer"]


def transfer_optimizer(optimizer: torch.optim.Optimizer, applied: AppliedPlan) -> torch.optim.Optimizer:
    """A new optimizer of the same class over the slim network's parameters, in the same groups.

    State with the shape of a parameter (momentum, Adam's moments) is sliced like the parameter; other state
    (step counts) is copied. A bias that compensation added joins the group of its layer's weight. The given
    optimizer is not changed. A learning-rate scheduler has to be made for the new optimizer.

    Raises:
        ModelError: the optimizer has a parameter that is not one of the pruned model.
    """
    added = {id(weight): bias for bias, weight in applied.added}
    groups, state = [], {}
    for group in optimizer.param_groups:
        parameters: list[nn.Parameter] = []
        for old in group["params"]:
            if id(old) not in applied.parameters:
                problem = "holds a parameter that is not the model's"
                remedy = "Give the optimizer of the model that is pruned"
                raise ModelError(problem, field="optimizer", remedy=remedy)
            new, slice_fn = applied.parameters[id(old)]
            parameters.append(new)
            if id(old) in added:
                parameters.append(added[id(old)])
            state[new] = {
                name: _sliced(value, old, slice_fn) for name, value in optimizer.state.get(old, {}).items()
            }
        groups.append({**group, "params": parameters})
    accepted = inspect.signature(type(optimizer)).parameters
    settings = {name: value for name, value in optimizer.defaults.items() if name in accepted}
    new_optimizer = type(optimizer)(groups, **settings)
    new_optimizer.state.update({new: values for new, values in state.items() if values})
    return new_optimizer


def _sliced(value: Any, old: Tensor, slice_fn: SliceFn) -> Any:
    if not isinstance(value, Tensor):
        return value
    return slice_fn(value) if value.shape == old.shape and value.dim() else value.clone()
