"""Which channels go: one ranking over all scaling factors (section 3 of the paper), and exact counts.

The channels of all layers are ranked together by importance, lowest first and stably, and the stated number
is taken from the low end. Nothing is ever compared with the threshold: among many equal factors (a proximal
L1 leaves hundreds at exactly 0) `|gamma| > threshold` removes too many and `>=` too few.

A *bite* is the least that can be removed from a layer at once: one channel; or one of each block where a
grouped convolution needs equal counts; or as many as lead to the next allowed width (`channel_multiple`).
A bite is due once its last channel is, so widths are rounded up, wherever in the ranking the walk stops.
Bites that a floor forbids are not offered: the walk goes on to the next lowest of other layers. A cap is put
on what the walk took, and nothing makes up for it: a cap protects the layers that are full of channels at
zero, and live channels of other layers would have to go in their place. So it is in the paper, where a pass
at 50 % with a cap of 50 % removes 39 % of the FLOPs (Table 4); halving every layer would remove 75 %.
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
from netslim.layer_report import LayerRow

__all__ = ["DEAD", "Choice", "Percent", "Scope", "Unit", "choose"]

Percent = float | Fraction | Literal["dead"]
Scope = Literal["global", "layer"]
Integers = npt.NDArray[np.int64]

DEAD = 1e-4
"""A factor below this is at zero: proximal training leaves exactly 0 there, subgradient training a ripple of
about lr * lambda / (1 - momentum). Removing all below moved no error in docs/method.md by more than 0.04
points; 1e-3 moved one by 0.27, for the weights behind a small factor can be large."""


@dataclass(frozen=True, eq=False)
class Unit:
    """One independent choice of channels.

    Args:
        name: the layer, as the report shows it.
        importance: float64[n], one finite value >= 0 per channel.
        factors: how many scaling factors go with one channel (the BatchNorms that share this choice).
        groups: the channels lie in this many equal blocks, each of which must keep the same number.
        frozen: why nothing of it may go; empty when it may. Frozen channels count and are ranked like others.
    """

    name: str
    importance: npt.NDArray[np.float64]
    factors: int = 1
    groups: int = 1
    frozen: str = ""

    @property
    def width(self) -> int:
        return self.importance.size


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
    units: Sequence[Unit],
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
    limits = _Limits(min_channels, max_layer_percent, channel_multiple)
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


@dataclass(frozen=True)
class _Limits:
    """What every layer keeps, whatever its factors say."""

    min_channels: int
    max_layer_percent: float | None
    channel_multiple: int

    def __post_init__(self) -> None:
        for field in ("min_channels", "channel_multiple"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(
                    "must be a whole number from 1 on", field=field, value=value, remedy="Use 1 or more"
                )
        cap = self.max_layer_percent
        if cap is not None and not 0 < cap <= 1:
            remedy = "Use a share above 0 and up to 1, such as 0.5, or leave it out for no cap"
            raise ConfigError(
                "is not a share of a layer", field="max_layer_percent", value=cap, remedy=remedy
            )

    def capped(self, unit: Unit) -> int:
        """The fewest channels that the cap leaves."""
        if self.max_layer_percent is None:
            return 0
        return unit.width - math.floor(_exact(self.max_layer_percent) * unit.width)

    def ends(self, unit: Unit) -> Integers:
        """How many channels may go, from none on; where a cap rules, it is put on later."""
        if unit.frozen:
            return np.zeros(1, dtype=np.int64)
        step = math.lcm(self.channel_multiple, unit.groups)
        lowest = max(self.min_channels, step) if self.min_channels >= self.capped(unit) else 0
        first, most = (unit.width - 1) % step + 1 - step, max(unit.width - lowest, 0)
        ends = np.arange(first, most + 1, step, dtype=np.int64)
        ends[0] = 0  # the full width may be none of the steps
        return ends

    def why(self, unit: Unit, want: int, get: int) -> str:
        """The reason for a width that the ranking alone would not give."""
        if get == want:
            return ""
        if get < want:
            return "makes up for layers that a limit held back"
        if unit.frozen:
            return f"frozen: {unit.frozen}"
        if want < max(self.capped(unit), self.min_channels):
            floor = self.min_channels >= self.capped(unit)
            return (
                f"floor: keeps {self.min_channels}" if floor else f"cap: loses {self.max_layer_percent:.4g}"
            )
        if self.channel_multiple > 1:
            return f"rounded up to a multiple of {self.channel_multiple}"
        if unit.groups > 1:
            return f"equal counts in {unit.groups} groups"
        return f"{unit.factors} factors go together and did not fit"


class _Bites:
    """A unit's channels from the least important on, cut into the bites that may be taken, in order.

    Args:
        ranks: int64[groups, channels of a group], the channels of each block from the lowest on.
    """

    def __init__(self, unit: Unit, ranks: Integers, limits: _Limits) -> None:
        self.order: Integers = ranks.T.ravel()  # the lowest of each block, the second lowest, ...
        self.ends = limits.ends(unit)  # channels gone after 0, 1, 2, ... bites
        levels = np.add.reduce(unit.importance[ranks]) / unit.groups
        self.due = levels[self.ends[1:] // unit.groups - 1]
        self.cost: Integers = (self.ends[1:] - self.ends[:-1]) * unit.factors
        self.allowed = int(np.count_nonzero(self.ends[1:] <= unit.width - limits.capped(unit)))

    def dead(self, unit: Unit) -> int:
        """How many bites hold nothing but channels at zero."""
        worst = np.maximum.accumulate(unit.importance[self.order])
        return int(np.count_nonzero(worst[self.ends[1:] - 1] < DEAD))


def _choose(units: Sequence[Unit], share: Fraction | None, limits: _Limits) -> Choice:
    """`choose` within one ranking; a `share` of None stands for "dead"."""
    lowest = _ranked(np.concatenate([unit.importance for unit in units]))
    bites = [_Bites(*own, limits) for own in zip(units, _by_block(units, lowest), strict=True)]
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


def _by_block(units: Sequence[Unit], lowest: Integers) -> list[Integers]:
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


def _want(units: Sequence[Unit], lowest: Integers, wanted: int) -> list[int]:
    """The widths that the ranking alone would leave: no limits, no groups."""
    owner = np.repeat(np.arange(len(units)), [unit.width for unit in units])
    factors = np.array([unit.factors for unit in units])
    number = np.searchsorted(np.cumsum(factors[owner[lowest]]), wanted, side="right")
    lost = np.bincount(owner[lowest[:number]], minlength=len(units))
    return [unit.width - int(count) for unit, count in zip(units, lost, strict=True)]


def _walk(bites: Sequence[_Bites], wanted: int) -> list[int]:
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


def _exact(value: float | Fraction) -> Fraction:
    """The number as it is written: 0.29 is 29 / 100, so that 0.29 of 100 channels are 29 and not 28."""
    return value if isinstance(value, Fraction) else Fraction(repr(float(value)))


def _share(percent: object) -> Fraction | None:
    """`percent` as an exact share, or None for "dead"."""
    if percent == "dead":
        return None
    if isinstance(percent, bool) or not isinstance(percent, (int, float, Fraction)):
        remedy = 'Use a number such as 0.5, or "dead" for just the channels at zero'
        raise ConfigError("is not a share of the channels", field="percent", value=percent, remedy=remedy)
    if 0 <= percent < 1:
        return _exact(percent)
    if percent == 1:
        problem, remedy = "would remove every channel", "Use a share below 1, such as 0.7"
    elif 1 < percent < 100:
        problem, remedy = "is not a share of the channels", f"Write {percent / 100:.4g} for {percent:.4g} %"
    else:
        problem, remedy = "is not a share of the channels", "Use a number from 0 up to, but not, 1"
    raise ConfigError(problem, field="percent", value=percent, remedy=remedy)


def _check(unit: Unit) -> None:
    assert unit.factors >= 1, unit
    assert unit.width % unit.groups == 0, unit
    if not np.isfinite(unit.importance).all():
        remedy = "Its training diverged; prune an earlier checkpoint, or train with a lower rate"
        raise ModelError("a scaling factor is NaN or infinite", field=unit.name, remedy=remedy)
