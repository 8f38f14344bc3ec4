"""Prune a network: rank its scaling factors, remove the lowest, compensate, and report what was done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Unpack

import torch
from torch import nn

from netslim.cost import Cost, count
from netslim.errors import ModelError
from netslim.pruning.analysis import Analysis
from netslim.pruning.garbage import without_garbage_collection
from netslim.pruning.layer_report import Report
from netslim.pruning.optimizer_state import check_optimizer, transfer_optimizer
from netslim.pruning.options import PruningKeywords, PruningOptions
from netslim.pruning.plan import Plan
from netslim.pruning.trial_run import example_fits
from netslim.pruning.verification import verify_pruning

__all__ = ["PruneResult", "preflight", "preview", "prune"]

_REPAIRS = 3
"""How often pruning is done again with other layers kept, if the slim network does not run."""


@dataclass(frozen=True)
class PruneResult:
    """The result of `prune`.

    Args:
        model: the slim network: bare (no DataParallel or torch.compile around it), in the mode it was in.
        plan: the kept channels; `netslim.apply_plan` makes the same structure of a fresh wide network.
        report: what was asked, what was reached, the table of layers, and notes.
        threshold: the greatest importance, a mean of |gamma|, that was removed.
        optimizer: one like the given optimizer, over the slim network's parameters, with its state; or None.
    """

    model: nn.Module
    plan: Plan
    report: Report
    threshold: float
    optimizer: torch.optim.Optimizer | None
    analysis: Analysis = field(repr=False)

    @cached_property
    def before(self) -> Cost:
        """The cost of the wide network."""
        return self.analysis.cost

    @cached_property
    def after(self) -> Cost:
        """The cost of the slim network, as it is when this is first read."""
        return count(self.model, self.analysis.example_input)


@without_garbage_collection()
def prune(
    model: nn.Module,
    example_input: Any,
    options: PruningOptions | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    verify: bool = False,
    **keywords: Unpack[PruningKeywords],
) -> PruneResult:
    """Remove the channels with the lowest scaling factors (paper, section 3); `model` is not changed.

    Exactly the requested share of the scaling factors is removed, half by default, unless a limit that was
    asked for (a cap, a floor, a multiple) or the structure of the network prevents it. The first lines of
    `result.report` state the request, the result, and the limit that made the difference.

        result = netslim.prune(model, images, percent=0.7, min_channels=4)
        result = netslim.prune(model, images, target="flops=0.5")
        result = netslim.prune(model, images, percent=0.5, keep=["stem"], layers={"layer4.*": 0.3})

    The slim network is run once without data, before it is returned. If it does not run, the layers that are
    the reason stay as they are, and a note says so.

    Args:
        model: any module with BatchNorm.
        example_input: a tensor, batch first, or a tuple of arguments; only shapes and dtypes count.
        options: how much, and within which limits.
        optimizer: over this model's parameters; one like it is made for the slim network, with its state.
        verify: also compare the slim network with the masked network on random inputs.
        **keywords: single options by name (percent, target, scope, policy, max_layer_percent, min_channels,
            channel_multiple, keep, layers, compensate); they replace those of `options`. See
            `PruningOptions`.

    Raises:
        ConfigError: an option is wrong, no layer matches a pattern of `keep` or `layers`, or the budget
            cannot be met.
        ModelError: the model has no BatchNorm, contains NaN, or cannot be traced; the example input does not
            fit it; the optimizer's state cannot be sliced; the slim network would not run, or computes
            something else.
    """
    options = (options or PruningOptions()).with_keywords(**keywords)
    if optimizer is not None:
        check_optimizer(optimizer)
    analysis = Analysis.of(model, example_input, options.policy, options.keep)
    choice, report = analysis.choose(options)
    compensation, applied = analysis.slim(choice.keep, biases=options.compensate)
    for attempt in range(_REPAIRS + 1):
        failure = analysis.failure_of(applied.model)
        if failure is None:
            break
        blamed = analysis.groups_to_blame(choice.keep)
        if attempt == _REPAIRS or not blamed:
            remedy = "This is a bug of netslim: please report it, with the code at that line"
            raise ModelError(f"the slim network does not run ({failure})", field="model", remedy=remedy)
        analysis = analysis.without(blamed, failure, options.policy)
        choice, report = analysis.choose(options)
        compensation, applied = analysis.slim(choice.keep, biases=options.compensate)
    if verify:
        plain = applied.model
        if options.compensate:
            plain = analysis.slim(choice.keep, biases=False)[1].model
        exact = None if compensation.notes or not options.compensate else applied.model
        notes = verify_pruning(analysis.index, compensation.plan, example_input, plain, exact)
        report = replace(report, notes=(*report.notes, *notes))
    return PruneResult(
        applied.model,
        compensation.plan,
        replace(report, notes=(*report.notes, *compensation.notes)),
        choice.threshold,
        None if optimizer is None else transfer_optimizer(optimizer, applied),
        analysis,
    )


def preview(
    model: nn.Module,
    example_input: Any,
    options: PruningOptions | None = None,
    **keywords: Unpack[PruningKeywords],
) -> Report:
    """The report of `prune` with the same arguments, without making a network.

    Raises:
        ConfigError, ModelError: as `prune` would.
    """
    options = (options or PruningOptions()).with_keywords(**keywords)
    analysis = Analysis.of(model, example_input, options.policy, options.keep)
    example_fits(analysis.index, example_input)
    return analysis.choose(options)[1]


preflight = preview
"""The name of `preview` in version 0.1.0."""
