"""Transfer an optimizer to a slim network: the same class, settings and state, over its parameters."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError
from netslim.nn._torch import tree_leaves
from netslim.pruning.apply_plan import AppliedPlan, SliceFn

__all__ = ["check_optimizer", "transfer_optimizer"]


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Check that the state of an optimizer can be sliced like its parameters.

    State that has as many axes as its parameter can be, if each axis has the parameter's size or 1. (The row
    and column means of Adafactor have.)

    Raises:
        ModelError: it cannot be.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        problem = f"it is a {type(optimizer).__name__}, not an optimizer of torch"
        raise ModelError(problem, field="optimizer", remedy="Give the torch.optim.Optimizer inside it")
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor) and leaf.numel() > 1]
            if tensors and not (isinstance(value, Tensor) and _fits(value, parameter)):
                kind = type(optimizer).__name__
                problem = f"the state {name!r} of {kind} has another shape than its parameter"
                remedy = f"Prune without it, and make a new {kind} for the slim model"
                raise ModelError(problem, field="optimizer", remedy=remedy)


def transfer_optimizer(optimizer: torch.optim.Optimizer, applied: AppliedPlan) -> torch.optim.Optimizer:
    """A new optimizer of the same class over the slim network's parameters, in the same groups.

    State with the shape of a parameter (momentum, Adam's moments) is sliced like the parameter; other state
    (step counts) is copied. A bias that compensation added joins the group of its layer's weight. The given
    optimizer is not changed. A learning-rate scheduler has to be made for the new optimizer.

    Raises:
        ModelError: the optimizer has a parameter that is not one of the pruned model, or its state cannot be
            sliced.
    """
    check_optimizer(optimizer)
    added = {id(weight): bias for bias, weight in applied.added}
    groups, state = [], {}
    for group in optimizer.param_groups:
        parameters: list[nn.Parameter] = []
        for old in group["params"]:
            if id(old) not in applied.parameters:
                problem = "holds a parameter that is not the model's"
                remedy = "Give the optimizer of the model that is pruned, or make one for the slim model"
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


def _fits(value: Tensor, parameter: Tensor) -> bool:
    sizes = zip(value.shape, parameter.shape, strict=False)
    return value.dim() == parameter.dim() and all(size in (1, whole) for size, whole in sizes)


def _sliced(value: Any, old: Tensor, slice_fn: SliceFn) -> Any:
    if not isinstance(value, Tensor):
        return value
    if not value.dim() or not _fits(value, old):
        return value.clone()
    if value.shape == old.shape:
        return slice_fn(value)
    sliced = slice_fn(value.expand(old.shape).contiguous())
    for axis, size in enumerate(value.shape):
        if size == 1:
            sliced = sliced.narrow(axis, 0, 1)
    return sliced.clone()
