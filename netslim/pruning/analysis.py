"""A traced network with its channel groups: choose channels, and make the slim network without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.cost import Cost, count
from netslim.dependency.graph import DependencyGraph
from netslim.dependency.trace import trace
from netslim.errors import ModelError, NetslimError
from netslim.nn.modes import unwrap
from netslim.nn.module_copy import ModuleIndex, copy_module, modules_by_path
from netslim.nn.weight_hooks import with_plain_weights
from netslim.pruning.apply_plan import AppliedPlan, slim_copy
from netslim.pruning.arguments import check_example, check_model, check_modules
from netslim.pruning.bias_compensation import Compensation, compensate_biases
from netslim.pruning.budget import percent_for
from netslim.pruning.build_plan import build_plan
from netslim.pruning.groups import ChannelGroups, group_channels
from netslim.pruning.held_back import held_back
from netslim.pruning.layer_report import Report
from netslim.pruning.options import Policy, PruningOptions
from netslim.pruning.patterns import groups_with_shares, keep_layers
from netslim.pruning.ranking import Choice, choose
from netslim.pruning.removal_steps import ChannelGroup, Integers
from netslim.pruning.summary import summary_by_percent, summary_by_target
from netslim.pruning.trial_run import Failure, example_fits, first_failure

__all__ = ["Analysis"]


@dataclass(frozen=True)
class Analysis:
    """A traced network with its channel groups, before anything is chosen."""

    index: ModuleIndex
    example_input: Any
    graph: DependencyGraph
    groups: ChannelGroups
    notes: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, example_input: Any, policy: Policy, keep: Sequence[str] = ()) -> Analysis:
        """Trace a network, and find its channel groups.

        Args:
            policy, keep: see `PruningOptions`. All other options count in `choose` only.
        """
        check_model(model)
        check_example(example_input)
        bare, notes = unwrap(model), []
        if bare is not model:
            wrapper = type(model).__name__
            notes.append(
                f"the model was given inside {wrapper}; the slim model has no wrapper: wrap it again"
            )
        modules = modules_by_path(bare)
        check_modules(modules)
        index = ModuleIndex.of(bare, modules)
        hooks = index.hooks()
        index, computed = with_plain_weights(index)
        if computed:
            notes.append(f"computed by a hook, and plain parameters in the slim model: {', '.join(computed)}")
        _must_have_factors(index)
        try:
            graph = DependencyGraph(trace(index, example_input))
        except NetslimError:
            example_fits(index, example_input)  # a better message, where that is the reason
            raise
        if not graph.norms:
            remedy = "Nothing can be ranked: check that forward() uses them"
            raise ModelError("its BatchNorm layers do not run", field="model", remedy=remedy)
        keep_layers(graph, keep)
        notes += [
            *_note_hooks(hooks - len(computed)),
            *_note_unused_norms(index, graph),
            *graph.records.notes,
        ]
        return cls(index, example_input, graph, group_channels(graph, policy), tuple(notes))

    def slim(self, keep: dict[str, Integers], *, biases: bool) -> tuple[Compensation, AppliedPlan]:
        """The slim network that keeps these channels of each group."""
        removed = self.groups.removed_factors(keep)
        removed_labels = self.graph.removed_labels(removed)
        plan = build_plan(self.graph, removed, removed_labels)
        compensation = compensate_biases(self.graph, removed, removed_labels, plan, biases=biases)
        try:
            return compensation, slim_copy(self.index, compensation.plan, compensation)
        except (NetslimError, ValueError, RuntimeError, IndexError):
            example_fits(self.index, self.example_input)  # the trace follows an input that does not fit
            raise

    def failure_of(self, slim: nn.Module) -> Failure | None:
        """Why the slim network does not run; None if it does."""
        return first_failure(slim, self.index, self.example_input, two_modes=self.graph.records.second_mode)

    def groups_to_blame(self, keep: dict[str, Integers]) -> list[str]:
        """The groups without whose removed channels the network runs; found by halving."""
        everything = {group.name: np.arange(group.width) for group in self.groups.groups}

        def blamed(names: list[str]) -> list[str]:
            applied = self.slim(everything | {name: keep[name] for name in names}, biases=False)[1]
            if not names or self.failure_of(applied.model) is None:
                return []
            half = len(names) // 2
            return (blamed(names[:half]) + blamed(names[half:]) or names) if half else names

        return blamed([name for name, kept in keep.items() if kept.size < everything[name].size])

    def without(self, names: list[str], failure: Failure, policy: Policy) -> Analysis:
        """The same analysis with these groups kept as they are."""
        tied = np.concatenate([self.groups.members[name] for name in names])
        where = f" at {failure.line}" if failure.line else ""
        reason = f"the slim network would not run{where}"
        self.graph.keep_factors(np.isin(self.groups.tied_of_factor, tied), reason)
        note = f"kept, because {reason} ({failure.problem}): {', '.join(names)}"
        return replace(self, groups=group_channels(self.graph, policy), notes=(*self.notes, note))

    @cached_property
    def cost(self) -> Cost:
        return count(self.index.model, self.example_input)

    def choose(self, options: PruningOptions) -> tuple[Choice, Report]:
        """The channels that are kept, and the report on them.

        Args:
            options: how much, and within which limits. Their policy and `keep` are those of this analysis.

        Raises:
            ConfigError: the budget cannot be met, or no layer matches a pattern in `layers`.
        """
        groups, notes = groups_with_shares(self.graph, self.groups, options.shares)
        if options.budget is None:
            choice = choose(groups, options)
            summary = summary_by_percent(groups, choice, options)
        else:
            costs = self._costs(options, groups)
            percent = percent_for(
                options.budget,
                costs,
                before=self.cost,
                factors=sum(group.width * group.factors for group in groups if group.share is None),
                start=costs(Fraction(0)) if options.shares else None,
            )
            choice = choose(groups, replace(options, percent=percent, target=None))
            after = costs(percent)
            summary = summary_by_target(groups, choice, options.budget, before=self.cost, after=after)
        held = held_back(self.graph, self.groups.removed_factors(choice.keep))
        report = Report(
            choice.rows,
            (*self.notes, *notes),
            summary.asked,
            summary.reached,
            summary.limits,
            held,
        )
        return choice, report

    def _costs(self, options: PruningOptions, groups: Sequence[ChannelGroup]) -> Callable[[Fraction], Cost]:
        """The cost of the network after pruning a percent, found on a copy without data."""
        empty: dict[int, Any] = {}
        for tensor in self.index.tensors.values():
            shape = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            empty[id(tensor)] = nn.Parameter(shape) if isinstance(tensor, nn.Parameter) else shape
        shapes = ModuleIndex.of(copy_module(self.index, empty))

        def cost_at(percent: Fraction) -> Cost:
            choice = choose(groups, replace(options, percent=percent, target=None))
            removed = self.groups.removed_factors(choice.keep)
            plan = build_plan(self.graph, removed, self.graph.removed_labels(removed))
            return count(slim_copy(shapes, plan).model, self.example_input)

        return cost_at


def _must_have_factors(index: ModuleIndex) -> None:
    norms = []
    for module in index.modules.values():
        if isinstance(module, _BatchNorm):
            if module.affine:
                return
            norms.append(module)
    others = {type(m).__name__ for m in index.modules.values() if isinstance(m, (nn.LayerNorm, nn.GroupNorm))}
    if norms:
        has = "its BatchNorm layers have no scaling factors (affine=False)"
    else:
        has = f"it has no BatchNorm{' but ' + ', '.join(sorted(others)) if others else ''}"
    problem = f"{has}, so there are no scaling factors to rank"
    remedy = "Take a variant with BatchNorm, such as vgg16_bn for vgg16"
    raise ModelError(problem, field="model", value=type(index.model).__name__, remedy=remedy)


def _note_hooks(hooks: int) -> list[str]:
    return [f"the model has {hooks} hooks; the slim one has none: register them again"] if hooks else []


def _note_unused_norms(index: ModuleIndex, graph: DependencyGraph) -> list[str]:
    ranked = {id(index.tensors[norm.weight]) for norm in graph.norms}
    unused = [
        name
        for name, module in index.modules.items()
        if isinstance(module, _BatchNorm) and module.affine and id(module.weight) not in ranked
    ]
    return [f"never run, so never pruned: {', '.join(unused)}"] if unused else []
