"""What may go of a layer: its channels from the least important on, bite by bite, within limits.

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
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from netslim.errors import ConfigError

__all__ = ["DEAD", "ChannelGroup", "Integers", "Limits", "RemovalSteps", "exact"]

Integers = npt.NDArray[np.int64]

DEAD = 1e-4
"""A factor below this is at zero: proximal training leaves exactly 0 there, subgradient training a ripple of
about lr * lambda / (1 - momentum). Removing all below moved no error in docs/method.md by more than 0.04
points; 1e-3 moved one by 0.27, for the weights behind a small factor can be large."""


@dataclass(frozen=True, eq=False)
class ChannelGroup:
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


@dataclass(frozen=True)
class Limits:
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

    def capped(self, unit: ChannelGroup) -> int:
        """The fewest channels that the cap leaves."""
        if self.max_layer_percent is None:
            return 0
        return unit.width - math.floor(exact(self.max_layer_percent) * unit.width)

    def ends(self, unit: ChannelGroup) -> Integers:
        """How many channels may go, from none on; where a cap rules, it is put on later."""
        if unit.frozen:
            return np.zeros(1, dtype=np.int64)
        step = math.lcm(self.channel_multiple, unit.groups)
        lowest = max(self.min_channels, step) if self.min_channels >= self.capped(unit) else 0
        first, most = (unit.width - 1) % step + 1 - step, max(unit.width - lowest, 0)
        ends = np.arange(first, most + 1, step, dtype=np.int64)
        ends[0] = 0  # the full width may be none of the steps
        return ends

    def why(self, unit: ChannelGroup, want: int, get: int) -> str:
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


class RemovalSteps:
    """A unit's channels from the least important on, cut into the bites that may be taken, in order.

    Args:
        ranks: int64[groups, channels of a group], the channels of each block from the lowest on.
    """

    def __init__(self, unit: ChannelGroup, ranks: Integers, limits: Limits) -> None:
        self.order: Integers = ranks.T.ravel()  # the lowest of each block, the second lowest, ...
        self.ends = limits.ends(unit)  # channels gone after 0, 1, 2, ... bites
        levels = np.add.reduce(unit.importance[ranks]) / unit.groups
        self.due = levels[self.ends[1:] // unit.groups - 1]
        self.cost: Integers = (self.ends[1:] - self.ends[:-1]) * unit.factors
        self.allowed = int(np.count_nonzero(self.ends[1:] <= unit.width - limits.capped(unit)))

    def dead(self, unit: ChannelGroup) -> int:
        """How many bites hold nothing but channels at zero."""
        worst = np.maximum.accumulate(unit.importance[self.order])
        return int(np.count_nonzero(worst[self.ends[1:] - 1] < DEAD))


def exact(value: float | Fraction) -> Fraction:
    """The number as it is written: 0.29 is 29 / 100, so that 0.29 of 100 channels are 29 and not 28."""
    return value if isinstance(value, Fraction) else Fraction(repr(float(value)))
