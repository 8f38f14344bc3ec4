"""How much the error rises when one layer alone loses channels, and which share of each layer costs little.

The ranking over the whole network compares scaling factors of different layers. Here layers are compared by
what counts in the end: the lowest-ranked channels of one layer are removed, the others stay, and the error is
measured without any training. (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.2,
find so which layers are sensitive.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from torch import nn

from netslim import progress
from netslim.errors import ConfigError, ModelError
from netslim.nn.recalibration import recalibrate
from netslim.pruning.analysis import Analysis
from netslim.pruning.apply_plan import slim_copy
from netslim.pruning.options import Policy, PruningOptions
from netslim.pruning.plan import Plan
from netslim.pruning.ranking import choose
from netslim.pruning.removal_steps import ChannelGroup, Integers
from netslim.pruning.sensitivity_table import LayerSensitivity, Sensitivity, check_increase
from netslim.sparsity import ZERO_GAMMA

__all__ = ["sensitivity"]


def sensitivity(
    model: nn.Module,
    example_input: Any,
    evaluate: Callable[[nn.Module], float],
    *,
    batches: Iterable[Any] = (),
    shares: Sequence[float] = (0.25, 0.5, 0.75),
    max_increase: float = 1.0,
    policy: Policy = "auto",
) -> Sensitivity:
    """Measure the error with one layer pruned at a time, layer by layer and share by share.

        found = netslim.sensitivity(model, images, error_of, batches=training_batches)
        print(found)                                                  # the table, with a share for each layer
        result = netslim.prune(model, images, layers=found.layers())  # prune all layers by these shares

    Each time the lowest-ranked channels of one layer, or of layers that are tied, are removed as in `prune`,
    with compensation. The network is traced once, and evaluated once for each number of channels: three times
    for each layer, by default. `model` is not changed.

    Give `batches`: behind removed channels the statistics of BatchNorm are out of date, and most of the error
    is theirs. With half of one layer removed from a small VGG that was trained without the L1 term, the test
    error on digits rose by 25 points on average, and by 0.9 with new statistics; the order of the layers was
    another one as well (rank correlation 0.8).

    Args:
        model: any module with BatchNorm, trained.
        example_input: a tensor, batch first, or a tuple of arguments; only shapes and dtypes count.
        evaluate: the error of a network, lower is better, as in percent of the validation images. It is given
            copies of the model, in eval mode and on its device.
        batches: some batches of training inputs for `recalibrate`, which is called on each network that lost
            channels that are not at zero, as in the pipeline. Some hundred images are enough.
        shares: the shares of a layer's channels that are removed, above 0 and below 1.
        max_increase: the increase of the error that each layer may cause, for the proposal; in the unit of
            `evaluate`.
        policy: how tied layers choose, as in `PruningOptions`; prune by the same one.

    Raises:
        ConfigError: a share or the increase is out of range, or `evaluate` returned no finite number.
        DataError: a batch does not fit the model.
        ModelError: the model has no BatchNorm, contains NaN, or cannot be traced; the example input does not
            fit it; or no layer can be pruned.
    """
    ascending = _checked_shares(shares)
    check_increase(max_increase)
    options = [PruningOptions(percent=share, scope="layer", policy=policy) for share in ascending]
    analysis = Analysis.of(model, example_input, policy, ())
    groups = [group for group in analysis.groups.groups if not group.frozen]
    if not groups:
        problem = f"no layer can be pruned ({analysis.groups.groups[0].frozen})"
        raise ModelError(problem, field="model", remedy="The report of netslim.preview has all reasons")
    kept = {group.name: [choose([group], each).keep[group.name] for each in options] for group in groups}
    total = 1 + sum(len({each.size for each in kept[group.name]} - {group.width}) for group in groups)
    images, rows, notes = list(batches), [], []
    with progress.bar("sensitivity", total) as bar:
        base = _error(evaluate, slim_copy(analysis.index, Plan.empty()).model, "the whole network")
        bar.advance(error=base)
        for group in groups:
            errors = {group.width: base}
            for share, keep in zip(reversed(ascending), reversed(kept[group.name]), strict=True):
                if keep.size in errors:
                    continue
                slim = _slim(analysis, group, keep)
                # Where the smallest one runs, the others do.
                if len(errors) == 1 and (failure := analysis.failure_of(slim)):
                    notes.append(
                        f"left out, because it would not run without its channels ({failure}): {group.name}"
                    )
                    break
                if images and np.delete(group.importance, keep).max() >= ZERO_GAMMA:
                    recalibrate(slim, images)
                errors[keep.size] = _error(evaluate, slim, f"{group.name} without {share:g} of its channels")
                bar.advance(error=errors[keep.size])
            else:
                channels = tuple(keep.size for keep in kept[group.name])
                found = tuple(errors[count] for count in channels)
                name, norm = group.name, _first_norm(analysis, group)
                rows.append(LayerSensitivity(name, norm, group.width, channels, found))
    return Sensitivity(base, ascending, tuple(rows), float(max_increase), (*analysis.notes, *notes))


def _slim(analysis: Analysis, group: ChannelGroup, keep: Integers) -> nn.Module:
    """The network that keeps these channels of one group, and all of the others."""
    everything = {other.name: np.arange(other.width) for other in analysis.groups.groups}
    return analysis.slim(everything | {group.name: keep}, biases=True)[1].model


def _first_norm(analysis: Analysis, group: ChannelGroup) -> str:
    """The path of the first BatchNorm of a group, by which the option `layers` finds the group.

    Of a function it is the module that owns the weight; "" if the whole network does.
    """
    tied = analysis.groups.members[group.name][0]
    factor = int(np.flatnonzero(analysis.groups.tied_of_factor == tied)[0])
    norm = analysis.graph.norms[analysis.graph.norm_of_factor[factor]]
    path: str = norm.path if norm.is_module else norm.path.rpartition(".")[0]
    return path


def _error(evaluate: Callable[[nn.Module], float], network: nn.Module, described: str) -> float:
    value = evaluate(network.eval())
    try:
        error = float(value)
    except (TypeError, ValueError):
        problem = f"returned a {type(value).__name__} for {described}, not a number"
        remedy = "Return one number, such as the percent of wrongly classified images"
        raise ConfigError(problem, field="evaluate", remedy=remedy) from None
    if not math.isfinite(error):
        problem = f"is the error of {described}, which is not finite"
        remedy = "Return the percent of wrongly classified images, or another error that stays finite"
        raise ConfigError(problem, field="evaluate", value=error, remedy=remedy)
    return error


def _checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """The shares, ascending, each once."""
    for share in shares:
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 < share < 1:
            remedy = (
                f"Write {share / 100:.4g} for {share:g} %" if number and 1 < share < 100 else "Such as 0.5"
            )
            problem = "each must be a number above 0 and below 1"
            raise ConfigError(problem, field="shares", value=share, remedy=remedy)
    if not shares:
        raise ConfigError("there is none", field="shares", remedy="Such as 0.25, 0.5, 0.75")
    return tuple(sorted({float(share) for share in shares}))
