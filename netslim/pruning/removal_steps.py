"""Removal steps: in which portions, and how far, the channels of one layer can be removed.

A *removal step* is the smallest number of channels that can be removed from a layer together: one channel;
or one of each block, where a grouped convolution needs equal counts; or as many as lead to the next allowed
width (`channel_multiple`). The score of a step is the importance of its last channel, or the mean over the
last ones of all blocks. So a width is always rounded up, at whatever point of the ranking the removal stops.

A floor (`min_channels`) ends the steps of a layer, and the ranking goes on to the next lowest channels of
other layers. A cap (`max_layer_percent`) is applied after the ranking, and no other layer makes up for it. A
cap protects layers that are full of channels at zero; channels of other layers that are not at zero would
have to be removed in their place. The paper's Table 4 is like that: a pass at 50 % with a cap of 50 % removes
39 % of the FLOPs, while halving every layer would remove 75 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from netslim.pruning.options import PruningOptions
from netslim.pruning.shares import exact
from netslim.sparsity import ZERO_GAMMA

__all__ = ["ChannelGroup", "Floats", "Integers", "RemovalSteps", "limit_reason"]

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that are ranked and removed independently of all other groups: one layer, or tied layers.

    Two layers whose outputs are added, for example, are one group of width 64 with `factors=2`: channel 7 of
    the group is channel 7 of both, and removing it removes two scaling factors.

    Args:
        name: the layer, as the report shows it.
        importance: float64[width], one finite value >= 0 per channel.
        factors: how many scaling factors are removed with one channel (one per BatchNorm of the group).
        blocks: the channels lie in this many equal blocks, and each block must keep the same number.
        frozen: why no channel can be removed; empty when they can. Frozen channels are counted and ranked
            like others.
        share: the share of its channels that the group loses, by a ranking of its own; None if it is ranked
            with others.
    """

    name: str
    importance: Floats
    factors: int = 1
    blocks: int = 1
    frozen: str = ""
    share: Fraction | None = None

    @property
    def width(self) -> int:
        return self.importance.size

    @property
    def lost_by_share(self) -> int:
        """How many channels its share is, rounded down; 0 without one."""
        return math.floor((self.share or 0) * self.width)


@dataclass(frozen=True, eq=False)
class RemovalSteps:
    """The removal steps of one group, in the order in which they are taken.

    Args:
        order: int64[width], the channels in the order in which they are removed.
        removed_after: int64[steps + 1], how many channels are removed after 0, 1, 2, ... steps.
        scores: float64[steps], ascending: the importance of the last channel of each step.
        costs: int64[steps], how many scaling factors each step removes.
        max_steps: how many steps the cap allows.
    """

    order: Integers
    removed_after: Integers
    scores: Floats
    costs: Integers
    max_steps: int

    @classmethod
    def of(cls, group: ChannelGroup, options: PruningOptions) -> RemovalSteps:
        """The steps of a group under these options."""
        removed_after = _removed_after(group, options)
        last, values = removed_after[1:] // group.blocks - 1, group.importance
        if group.blocks == 1:
            order = values.argsort(kind="stable")
            scores = values[order[last]]
        else:
            ranks = values.reshape(group.blocks, -1).argsort(axis=1, kind="stable")
            block_starts = np.arange(0, group.width, group.width // group.blocks)
            by_rank = ranks.T + block_starts  # the lowest of each block, the second lowest of each, ...
            scores = values[by_rank[last]].sum(axis=1) / group.blocks
            order = by_rank.ravel()
        allowed = group.width - _least_by_cap(group, options)
        return cls(
            order=order,
            removed_after=removed_after,
            scores=scores,
            costs=(removed_after[1:] - removed_after[:-1]) * group.factors,
            max_steps=int(np.count_nonzero(removed_after[1:] <= allowed)),
        )

    def steps_at_zero(self, group: ChannelGroup) -> int:
        """How many steps remove nothing but channels at zero."""
        largest = np.maximum.accumulate(group.importance[self.order])
        return int(np.count_nonzero(largest[self.removed_after[1:] - 1] < ZERO_GAMMA))


def limit_reason(group: ChannelGroup, options: PruningOptions, *, by_rank: int, after: int) -> str:
    """Why a group keeps `after` channels, where the ranking alone would keep `by_rank`; "" if it does."""
    if after == by_rank:
        return ""
    if after < by_rank:
        return "makes up for layers that a limit held back"
    if group.frozen:
        return f"frozen: {group.frozen}"
    by_cap = _least_by_cap(group, options)
    if by_rank < max(by_cap, options.min_channels):
        if options.min_channels >= by_cap:
            return f"floor: keeps {options.min_channels}"
        return f"cap: loses at most {options.max_layer_percent:.4g}"
    if options.channel_multiple > 1:
        return f"rounded up to a multiple of {options.channel_multiple}"
    if group.blocks > 1:
        return f"equal counts in {group.blocks} blocks"
    return f"{group.factors} factors are removed together and did not fit"


def _least_by_cap(group: ChannelGroup, options: PruningOptions) -> int:
    """The fewest channels that the cap leaves; 0 without a cap."""
    if options.max_layer_percent is None:
        return 0
    return group.width - math.floor(exact(options.max_layer_percent) * group.width)


def _removed_after(group: ChannelGroup, options: PruningOptions) -> Integers:
    """How many channels are removed after each step, from 0 on. The cap is applied later."""
    if group.frozen:
        return np.zeros(1, dtype=np.int64)
    multiple = math.lcm(options.channel_multiple, group.blocks)
    cap_decides = _least_by_cap(group, options) > options.min_channels
    least = 0 if cap_decides else max(options.min_channels, multiple)
    # Widths below the full one are multiples: width - multiple * k channels remain after the k-th.
    remainder = group.width % multiple or multiple
    removed = np.arange(remainder, group.width - least + 1, multiple, dtype=np.int64)
    return np.concatenate([np.zeros(1, dtype=np.int64), removed])
