"""Which channels go: one ranking over all scaling factors (section 3 of the paper), and exact counts.

The channels of all layers are ranked together by importance, lowest first and stably, and the stated number
is taken from the low end. Nothing is ever compared with the threshold: among many equal factors (a proximal
L1 leaves hundreds at exactly 0) `|gamma| > threshold` removes too many and `>=` too few. What may go of one
layer, and in what portions, is in `netslim.pruning.removal_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from netslim.errors import ConfigError, ModelError
from netslim.pruning.layer_report import LayerRow
from netslim.pruning.removal_steps import DEAD, ChannelGroup, Integers, Limits, RemovalSteps, exact

__all__ = ["Choice", "Percent", "Scope", "choose"]

Percent = float | Fraction | Literal["dead"]
Scope = Literal["global", "layer"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Which channels stay.

    Args:
        keep: the kept indices of each unit, ascending int64.
        rows: one row per unit, in the order of the units.
        threshold: the greatest importance that was removed; 0.0 when nothing was.
        wanted: how many scaling factors were to go.
        removed: how many go; never more than `wanted`.
    """

    keep: dict[str, Integers]
    rows: tuple[LayerRow, ...]
    threshold: float
    wanted: int
    removed: int


def choose(
    units: Sequence[ChannelGroup],
    *,
    percent: Percent,
    scope: Scope = "global",
    min_channels: int = 1,
    max_layer_percent: float | None = None,
    channel_multiple: int = 1,
) -> Choice:
    """Choose the channels that stay.

    Exactly floor(percent * scaling factors) of the scaling factors go where the limits allow it, never more.
    What a floor holds back in one layer is taken from the next lowest of the others; what a cap holds back
    stays. The last few of a number that coupled channels cannot meet (they go several factors at a time) are
    the lowest that fit.

    Args:
        units: the independent choices of the model.
        percent: share of the scaling factors that go, 0 <= percent < 1; or "dead": just those below `DEAD`.
        scope: "global" ranks all layers together; "layer" takes the same share of each layer, as the paper
            does for its MLP (80 % of 500 and 300 leaves 100 and 60).
        min_channels: every layer keeps at least this many, or all it has.
        max_layer_percent: no layer loses a greater share than this (0.5 in the paper's multi-pass scheme).
        channel_multiple: widths are a multiple of this, or the full width.

    Raises:
        ConfigError: an option is out of range.
        ModelError: a unit holds NaN or infinity.
    """
    limits = Limits(min_channels, max_layer_percent, channel_multiple)
    share = _share(percent)
    if scope not in ("global", "layer"):
        raise ConfigError("unknown scope", field="scope", value=scope, remedy='Use "global" or "layer"')
    for unit in units:
        _check(unit)
    rankings = [[unit] for unit in units] if scope == "layer" else [units] * bool(units)
    choices = [_choose(ranking, share, limits) for ranking in rankings]
    return Choice(
        keep={name: kept for choice in choices for name, kept in choice.keep.items()},
        rows=tuple(row for choice in choices for row in choice.rows),
        threshold=max((choice.threshold for choice in choices), default=0.0),
        wanted=sum(choice.wanted for choice in choices),
        removed=sum(choice.removed for choice in choices),
    )


def _choose(units: Sequence[ChannelGroup], share: Fraction | None, limits: Limits) -> Choice:
    """`choose` within one ranking; a `share` of None stands for "dead"."""
    lowest = _ranked(np.concatenate([unit.importance for unit in units]))
    bites = [RemovalSteps(*own, limits) for own in zip(units, _by_block(units, lowest), strict=True)]
    if share is None:
        want = [unit.width - int(np.count_nonzero(unit.importance < DEAD)) for unit in units]
        wanted = sum((unit.width - kept) * unit.factors for unit, kept in zip(units, want, strict=True))
        taken = [bite.dead(unit) for unit, bite in zip(units, bites, strict=True)]
    else:
        wanted = math.floor(share * sum(unit.width * unit.factors for unit in units))
        want = _want(units, lowest, wanted)
        taken = _walk(bites, wanted)
    taken = [min(count, bite.allowed) for bite, count in zip(bites, taken, strict=True)]
    gone = [bite.order[: bite.ends[count]] for bite, count in zip(bites, taken, strict=True)]
    rows, keep, removed, threshold = [], {}, 0, 0.0
    for unit, lost, wish in zip(units, gone, want, strict=True):
        stays = np.ones(unit.width, dtype=bool)
        stays[lost] = False
        keep[unit.name] = np.flatnonzero(stays)
        get = unit.width - lost.size
        rows.append(LayerRow(unit.name, unit.width, wish, get, limits.why(unit, wish, get)))
        removed += lost.size * unit.factors
        threshold = max(threshold, float(unit.importance[lost].max(initial=0.0)))
    return Choice(keep, tuple(rows), threshold, wanted, removed)


def _by_block(units: Sequence[ChannelGroup], lowest: Integers) -> list[Integers]:
    """The ranking of all channels taken apart: for each unit, the channels of each of its blocks, ranked."""
    sizes = np.repeat([unit.width // unit.groups for unit in units], [unit.groups for unit in units])
    block = np.repeat(np.arange(sizes.size), sizes)[lowest]
    # Numbers of one or two bytes are sorted by counting.
    ranked = lowest[np.argsort(block.astype(np.min_scalar_type(sizes.size)), kind="stable")]
    ends = np.cumsum([unit.width for unit in units])
    return [
        (own - (end - unit.width)).reshape(unit.groups, -1)
        for unit, end, own in zip(units, ends, np.split(ranked, ends[:-1]), strict=True)
    ]


def _want(units: Sequence[ChannelGroup], lowest: Integers, wanted: int) -> list[int]:
    """The widths that the ranking alone would leave: no limits, no groups."""
    owner = np.repeat(np.arange(len(units)), [unit.width for unit in units])
    factors = np.array([unit.factors for unit in units])
    number = np.searchsorted(np.cumsum(factors[owner[lowest]]), wanted, side="right")
    lost = np.bincount(owner[lowest[:number]], minlength=len(units))
    return [unit.width - int(count) for unit, count in zip(units, lost, strict=True)]


def _walk(bites: Sequence[RemovalSteps], wanted: int) -> list[int]:
    """Take bites in the order they are due until `wanted` factors are gone; how many of each layer."""
    owner = np.repeat(np.arange(len(bites)), [bite.cost.size for bite in bites])
    cost = np.concatenate([bite.cost for bite in bites])
    order = _ranked(np.concatenate([bite.due for bite in bites]))
    gone = np.cumsum(cost[order])
    number = int(np.searchsorted(gone, wanted, side="right"))
    taken = np.bincount(owner[order[:number]], minlength=len(bites))
    left = wanted - int(gone[number - 1]) if number else wanted
    closed = np.zeros(len(bites), dtype=bool)  # a layer's bites go in order: one too big ends the layer
    for bite in order[number:]:
        if left == 0:
            break
        layer = owner[bite]
        closed[layer] |= cost[bite] > left
        if not closed[layer]:
            taken[layer] += 1
            left -= int(cost[bite])
    return [int(count) for count in taken]


def _ranked(values: npt.NDArray[np.float64]) -> Integers:
    """The stable order, lowest first: by the fast sort, with the ties put right afterwards."""
    order = np.argsort(values)
    ranked = values[order]
    tied = np.zeros(values.size, dtype=bool)
    tied[1:] = ranked[1:] == ranked[:-1]
    tied[:-1] |= tied[1:]
    order[tied] = order[tied][np.lexsort((order[tied], ranked[tied]))]
    return order


def _share(percent: object) -> Fraction | None:
    """`percent` as an exact share, or None for "dead"."""
    if percent == "dead":
        return None
    if isinstance(percent, bool) or not isinstance(percent, (int, float, Fraction)):
        remedy = 'Use a number such as 0.5, or "dead" for just the channels at zero'
        raise ConfigError("is not a share of the channels", field="percent", value=percent, remedy=remedy)
    if 0 <= percent < 1:
        return exact(percent)
    if percent == 1:
        problem, remedy = "would remove every channel", "Use a share below 1, such as 0.7"
    elif 1 < percent < 100:
        problem, remedy = "is not a share of the channels", f"Write {percent / 100:.4g} for {percent:.4g} %"
    else:
        problem, remedy = "is not a share of the channels", "Use a number from 0 up to, but not, 1"
    raise ConfigError(problem, field="percent", value=percent, remedy=remedy)


def _check(unit: ChannelGroup) -> None:
    assert unit.factors >= 1, unit
    assert unit.width % unit.groups == 0, unit
    if not np.isfinite(unit.importance).all():
        remedy = "Its training diverged; prune an earlier checkpoint, or train with a lower rate"
        raise ModelError("a scaling factor is NaN or infinite", field=unit.name, remedy=remedy)
