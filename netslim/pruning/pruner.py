"""Prune a network: rank its scaling factors, cut the lowest, compensate, and say what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.cost import Cost, count
from netslim.dependency.graph import DependencyGraph
from netslim.dependency.trace import trace
from netslim.errors import ConfigError, ModelError
from netslim.nn.modes import unwrap
from netslim.nn.module_copy import ModuleIndex, copy_module
from netslim.pruning.apply_plan import slim_copy
from netslim.pruning.bias_compensation import compensate_biases
from netslim.pruning.budget import Target, percent_for
from netslim.pruning.build_plan import build_plan
from netslim.pruning.groups import ChannelGroups, Policy, group_channels
from netslim.pruning.layer_report import Report
from netslim.pruning.optimizer_state import transfer_optimizer
from netslim.pruning.plan import Plan
from netslim.pruning.ranking import Choice, Percent, Scope, choose

__all__ = ["PruneResult", "preflight", "prune"]


@dataclass(frozen=True)
class PruneResult:
    """What `prune` made.

    Args:
        model: the slim network: bare (no DataParallel or torch.compile around it), in the mode it was in.
        plan: what was kept; `plan.apply` makes the same structure of a fresh wide network.
        report: the table of layers, and notes.
        threshold: the greatest importance, a mean of |gamma|, that was removed.
        optimizer: the optimizer given, anew over the slim network's parameters with its state; or None.
    """

    model: nn.Module
    plan: Plan
    report: Report
    threshold: float
    optimizer: torch.optim.Optimizer | None
    study: _Study = field(repr=False)

    @cached_property
    def before(self) -> Cost:
        """What the wide network costs."""
        return self.study.cost

    @cached_property
    def after(self) -> Cost:
        """What the slim network costs, as it is when this is first asked."""
        return count(self.model, self.study.example_input)


def prune(
    model: nn.Module,
    example_input: Any,
    *,
    percent: Percent | None = None,
    target: str | Mapping[str, float] | None = None,
    policy: Policy = "auto",
    min_channels: int = 1,
    max_layer_percent: float | None = None,
    channel_multiple: int = 1,
    scope: Scope = "global",
    compensate: bool = True,
    optimizer: torch.optim.Optimizer | None = None,
) -> PruneResult:
    """Remove the channels with the lowest scaling factors; `model` is not changed.

    Args:
        model: any module with BatchNorm.
        example_input: a tensor, batch first, or a tuple of arguments; only shapes and types count.
        percent: the share of all scaling factors that goes, or "dead" for those at zero.
        target: a budget in its place, such as {"flops": 0.5} or "params=400000".
        policy: how channels that meet in a sum or a concat choose; see `netslim.pruning.groups`.
        min_channels, max_layer_percent, channel_multiple, scope: see `netslim.pruning.ranking.choose`.
        compensate: fold what the removed channels sent into what stays; see
        `netslim.pruning.bias_compensation`. optimizer: over this model's parameters; one like it is made
        for the slim network, with its state.

    Raises:
        ConfigError: an option is wrong, or the budget cannot be met.
        ModelError: the model has no BatchNorm, holds NaN, or cannot be followed without data.
    """
    study = _Study.of(model, example_input, policy)
    limits = _Limits(min_channels, max_layer_percent, channel_multiple, scope)
    choice = study.choose(percent, target, limits)
    removed = study.coupling.removed(choice.keep)
    gone = study.structure.removed_labels(removed)
    plan = build_plan(study.structure, removed, gone)
    folded = compensate_biases(study.structure, removed, gone, plan, biases=compensate)
    operation = slim_copy(study.tree, folded.plan, folded)
    return PruneResult(
        operation.model,
        folded.plan,
        Report(choice.rows, (*study.notes, *folded.notes)),
        choice.threshold,
        None if optimizer is None else transfer_optimizer(optimizer, operation),
        study,
    )


def preflight(
    model: nn.Module,
    example_input: Any,
    *,
    percent: Percent | None = None,
    target: str | Mapping[str, float] | None = None,
    policy: Policy = "auto",
    min_channels: int = 1,
    max_layer_percent: float | None = None,
    channel_multiple: int = 1,
    scope: Scope = "global",
) -> Report:
    """What `prune` with these options would do to each layer; nothing is made.

    Raises:
        ConfigError, ModelError: as `prune` would.
    """
    study = _Study.of(model, example_input, policy)
    limits = _Limits(min_channels, max_layer_percent, channel_multiple, scope)
    return Report(study.choose(percent, target, limits).rows, study.notes)


@dataclass(frozen=True)
class _Limits:
    min_channels: int
    max_layer_percent: float | None
    channel_multiple: int
    scope: Scope


@dataclass(frozen=True)
class _Study:
    """A network understood, before anything is chosen."""

    tree: ModuleIndex
    example_input: Any
    structure: DependencyGraph
    coupling: ChannelGroups
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, example_input: Any, policy: Policy) -> _Study:
        bare, notes = unwrap(model), []
        if bare is not model:
            kind = type(model).__name__
            notes.append(f"the model was given inside {kind}; the slim model has no wrapper: wrap it again")
        _must_have_factors(bare)
        tree = ModuleIndex.of(bare)
        structure = DependencyGraph(trace(tree, example_input))
        if not structure.norms:
            remedy = "Nothing can be ranked: check that forward() uses them"
            raise ModelError("its BatchNorm layers do not run", field="model", remedy=remedy)
        coupling = group_channels(structure, policy)
        notes += [*_hooked(tree), *_idle(tree, structure)]
        return cls(tree, example_input, structure, coupling, tuple(notes))

    @cached_property
    def cost(self) -> Cost:
        return count(self.tree.model, self.example_input)

    def choose(
        self, percent: Percent | None, target: str | Mapping[str, float] | None, limits: _Limits
    ) -> Choice:
        """Pick the channels that stay, by a percent or by a budget."""
        if target is not None and percent is None:
            percent = self._within(Target.parse(target), limits)
        elif percent is None or target is not None:
            given = "neither" if percent is None else "both"
            remedy = "Give a percent such as 0.5, or a target such as flops=0.5"
            raise ConfigError("one of the two is needed", field="percent, target", value=given, remedy=remedy)
        return choose(self.coupling.units, percent=percent, **asdict(limits))

    def _within(self, target: Target, limits: _Limits) -> Fraction:
        """The percent that meets a budget, found on a copy without data."""
        empty: dict[int, Any] = {}
        for tensor in self.tree.tensors.values():
            shape = torch.empty_like(tensor, device="meta")
            empty[id(tensor)] = nn.Parameter(shape) if isinstance(tensor, nn.Parameter) else shape
        shapes = ModuleIndex.of(copy_module(self.tree, empty))

        def cost_at(percent: Fraction) -> Cost:
            choice = choose(self.coupling.units, percent=percent, **asdict(limits))
            removed = self.coupling.removed(choice.keep)
            plan = build_plan(self.structure, removed, self.structure.removed_labels(removed))
            return count(slim_copy(shapes, plan).model, self.example_input)

        return percent_for(target, cost_at, before=self.cost, factors=self.structure.norm_of_factor.size)


def _must_have_factors(model: nn.Module) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        remedy = "Give the Python module it was made from"
        raise ModelError("a TorchScript module cannot be slimmed", field="model", remedy=remedy)
    norms = []
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            if module.affine:
                return
            norms.append(module)
    others = {type(m).__name__ for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))}
    if norms:
        has = "its BatchNorm layers have no scaling factors (affine=False)"
    else:
        has = f"it has no BatchNorm{' but ' + ', '.join(sorted(others)) if others else ''}"
    problem = f"{has}, so there are no scaling factors to rank"
    remedy = "Take a variant with BatchNorm, such as vgg16_bn for vgg16"
    raise ModelError(problem, field="model", value=type(model).__name__, remedy=remedy)


def _hooked(tree: ModuleIndex) -> list[str]:
    hooks = tree.hooks()
    return [f"the model has {hooks} hooks; the slim one has none: register them again"] if hooks else []


def _idle(tree: ModuleIndex, structure: DependencyGraph) -> list[str]:
    ranked = {id(tree.tensors[norm.weight]) for norm in structure.norms}
    idle = [
        name
        for name, module in tree.modules.items()
        if isinstance(module, _BatchNorm) and module.affine and id(module.weight) not in ranked
    ]
    return [f"never run, so never pruned: {', '.join(idle)}"] if idle else []
