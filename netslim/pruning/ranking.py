"""Which channels are removed: one ranking over all scaling factors (section 3 of the paper), exact counts.

The channels of all layers are ranked together by importance, lowest first, and equal ones in the order of the
network. The requested number is taken from the low end of the ranking. A comparison with the threshold is not
enough: among many equal factors (proximal training leaves hundreds at exactly 0) `|gamma| > threshold`
removes too many and `>=` too few. How much of one layer can be removed, and in what portions, is in
`netslim.pruning.removal_steps`. A layer with a share of its own is a ranking of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from netslim.errors import ModelError
from netslim.pruning.layer_report import LayerRow
from netslim.pruning.options import PruningOptions
from netslim.pruning.removal_steps import ChannelGroup, Floats, Integers, RemovalSteps, limit_reason
from netslim.sparsity import ZERO_GAMMA

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Which channels are kept.

    Args:
        keep: the kept channels of each group by name, int64, ascending.
        rows: one row per group, in the order of the groups.
        threshold: the greatest importance that was removed; 0.0 when nothing was.
        requested: how many scaling factors were to be removed.
        removed: how many are removed; never more than `requested`.
    """

    keep: dict[str, Integers]
    rows: tuple[LayerRow, ...]
    threshold: float
    requested: int
    removed: int


def choose(groups: Sequence[ChannelGroup], options: PruningOptions) -> Choice:
    """Choose the channels that are kept, by `options.ratio`.

    Exactly floor(ratio * scaling factors) factors are removed where the limits allow it, never more. What a
    floor holds back in one layer is taken from the next lowest channels of other layers; what a cap holds
    back is kept. Where groups of several factors cannot add up to the exact number, the remainder is filled
    with the lowest-ranked steps that fit.

    With `scope="layer"` the same share is removed from each layer, as in the paper's MLP: 80 % of 500 and 300
    neurons leaves 100 and 60. The ratio "dead" removes just the channels below `ZERO_GAMMA`.

    A group with a share loses exactly floor(share * channels) of its channels where the limits allow it. The
    ratio counts over the scaling factors of all other groups.

    Raises:
        ModelError: an importance is NaN or infinite.
    """
    for group in groups:
        _check_finite(group)
    others = [group for group in groups if group.share is None]
    rankings = [[group] for group in others] if options.scope == "layer" else [others] * bool(others)
    choices = [_choose(ranking, options, _requested(ranking, options)) for ranking in rankings]
    choices += [
        _choose([group], options, group.lost_by_share * group.factors)
        for group in groups
        if group.share is not None
    ]
    keep = {name: kept for choice in choices for name, kept in choice.keep.items()}
    rows = {row.layer: row for choice in choices for row in choice.rows}
    return Choice(
        keep={group.name: keep[group.name] for group in groups},
        rows=tuple(rows[group.name] for group in groups),
        threshold=max((choice.threshold for choice in choices), default=0.0),
        requested=sum(choice.requested for choice in choices),
        removed=sum(choice.removed for choice in choices),
    )


def _requested(groups: Sequence[ChannelGroup], options: PruningOptions) -> int | None:
    """How many scaling factors the ratio is; None for those at zero."""
    if options.ratio == "dead":
        return None
    return math.floor(options.ratio * sum(group.width * group.factors for group in groups))


def _choose(groups: Sequence[ChannelGroup], options: PruningOptions, requested: int | None) -> Choice:
    """`choose` within one ranking.

    Args:
        requested: how many scaling factors are to be removed; None for those at zero.
    """
    steps = [RemovalSteps.of(group, options) for group in groups]
    if requested is None:
        lost_by_rank = [int(np.count_nonzero(group.importance < ZERO_GAMMA)) for group in groups]
        requested = sum(lost * group.factors for group, lost in zip(groups, lost_by_rank, strict=True))
        taken = [own.steps_at_zero(group) for group, own in zip(groups, steps, strict=True)]
    else:
        lost_by_rank = _lost_by_rank(groups, steps, requested)
        taken = _take_steps(steps, requested)
    keep, rows, threshold, removed = {}, [], 0.0, 0
    for group, own, count, lost in zip(groups, steps, taken, lost_by_rank, strict=True):
        gone = own.order[: own.removed_after[min(count, own.max_steps)]]
        kept = np.ones(group.width, dtype=bool)
        kept[gone] = False
        keep[group.name] = np.flatnonzero(kept)
        by_rank, after = group.width - lost, group.width - gone.size
        reason = limit_reason(group, options, by_rank=by_rank, after=after)
        rows.append(LayerRow(group.name, before=group.width, by_rank=by_rank, after=after, why=reason))
        threshold = max(threshold, float(group.importance[gone].max(initial=0.0)))
        removed += gone.size * group.factors
    return Choice(keep, tuple(rows), threshold, requested, removed)


def _lost_by_rank(groups: Sequence[ChannelGroup], steps: Sequence[RemovalSteps], requested: int) -> list[int]:
    """How many channels each group would lose by the ranking alone: no limits and no blocks."""
    group_of = np.repeat(np.arange(len(groups)), [group.width for group in groups])
    # Most groups are sorted in the order of their steps, and sorted runs are joined in half the time.
    ordered = [group.importance[own.order] for group, own in zip(groups, steps, strict=True)]
    importance = np.concatenate(ordered)
    factors = np.array([group.factors for group in groups])
    if np.ptp(factors) == 0:
        lowest = group_of[_lowest(importance, requested // int(factors[0]))]
    else:
        ranked = group_of[np.argsort(importance, kind="stable")]
        number = np.searchsorted(np.cumsum(factors[ranked]), requested, side="right")
        lowest = ranked[:number]
    return _counts(lowest, len(groups))


def _take_steps(steps: Sequence[RemovalSteps], requested: int) -> list[int]:
    """How many steps of each group are taken, if steps are taken in the order of their scores.

    A step that would remove more factors than are left to remove ends its group, because later steps of the
    group build on it. As long as all steps fit, the walk over them is one cumulative sum.
    """
    group_of = np.repeat(np.arange(len(steps)), [own.scores.size for own in steps])
    scores = np.concatenate([own.scores for own in steps])
    costs = np.concatenate([own.costs for own in steps])
    if costs.size and np.ptp(costs) == 0:  # so no later step fits if one does not
        lowest = _lowest(scores, min(requested // int(costs[0]), costs.size))
        return _counts(group_of[lowest], len(steps))
    order = np.argsort(scores, kind="stable")
    costs, group_of = costs[order], group_of[order]
    removed = np.cumsum(costs)
    number = int(np.searchsorted(removed, requested, side="right"))
    taken = np.bincount(group_of[:number], minlength=len(steps))
    left = requested - (int(removed[number - 1]) if number else 0)
    ended: set[int] = set()
    for group, cost in zip(group_of[number:].tolist(), costs[number:].tolist(), strict=True):
        if left == 0:
            break
        if group in ended or cost > left:
            ended.add(group)
        else:
            taken[group] += 1
            left -= cost
    return [int(count) for count in taken]


def _counts(group_of: Integers, groups: int) -> list[int]:
    return [int(count) for count in np.bincount(group_of, minlength=groups)]


def _lowest(values: Floats, count: int) -> npt.NDArray[np.bool_]:
    """bool[values]: the lowest `count`; of equal ones the first. Takes a tenth of the time of sorting."""
    if count == 0:
        return np.zeros(values.size, dtype=bool)
    greatest = np.partition(values, count - 1)[count - 1]
    lowest: npt.NDArray[np.bool_] = values < greatest
    lowest[np.flatnonzero(values == greatest)[: count - int(lowest.sum())]] = True
    return lowest


def _check_finite(group: ChannelGroup) -> None:
    if not np.isfinite(group.importance).all():
        remedy = "Its training diverged; prune an earlier checkpoint, or train with a lower rate"
        raise ModelError("a scaling factor is NaN or infinite", field=group.name, remedy=remedy)
