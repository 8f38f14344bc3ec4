"""Channel groups: which channels are ranked and removed independently of which others.

The scaling factors of all BatchNorms are numbered through, BatchNorm by BatchNorm: a *factor* is one number.
Factors that must be removed together are one *tied channel*. Take a residual block, `relu(bn1(x) + bn2(y))`:
channel 7 of bn1 and channel 7 of bn2 write to channel 7 of the sum. Two policies are possible.

    group    both are removed, and the channel with them, or neither: one tied channel with two factors
    select   each is removed on its own; the sum keeps the channel as long as one of them needs it, and
             `ChannelSelect` layers stand between the sum and the narrower layers (paper, section 3)

`auto` ties BatchNorms whose outputs are added, and lets those select that only read a shared tensor.

A *channel group* is a list of tied channels that are ranked as one layer. Tied channels are in one group if
factors of the same BatchNorms are in them and the same constraints apply to them. A grouped convolution, for
example, requires equal counts of each of its blocks; such a constraint divides the group into equal blocks.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from netslim.dependency.equivalence import Ints
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.pruning.options import Policy
from netslim.pruning.partition import Partition, numbered_columns, run_starts
from netslim.pruning.removal_steps import ChannelGroup
from netslim.pruning.tied_channels import TiedChannels

__all__ = ["ChannelGroups", "group_channels"]


@dataclass(frozen=True, eq=False)
class ChannelGroups:
    """The channel groups of a network, in the order of the network.

    Args:
        groups: the groups that `ranking.choose` chooses from.
        tied_of_factor: int64[factors], the tied channel of each scaling factor.
        members: for each group by name, its tied channels in the order of the group's channels.
    """

    groups: tuple[ChannelGroup, ...]
    tied_of_factor: Ints
    members: dict[str, Ints]

    def removed_factors(self, keep: dict[str, Ints]) -> Bools:
        """bool[factors]: which are removed if these channels of each group are kept."""
        removed = np.zeros(int(self.tied_of_factor.max(initial=-1)) + 1, dtype=bool)
        for name, members in self.members.items():
            removed[members] = True
            removed[members[keep[name]]] = False
        return removed[self.tied_of_factor]


def group_channels(graph: DependencyGraph, policy: Policy) -> ChannelGroups:
    """Find the channel groups of a network.

    Blocks that must lose equally many channels, and cannot be held to that, are marked unprunable in `graph`.
    This can break the blocks of other layers, so the search is repeated until no block is broken.
    """
    while True:
        tied = TiedChannels.of(graph, policy)
        constraints, broken = _constraints(graph, tied)
        groups, blocks = _partition(tied, constraints)
        sizes = np.bincount(blocks.part)
        broken += [
            labels
            for labels, rows in constraints
            if not _is_even(groups.part[rows], sizes[blocks.part[rows]])
        ]
        if not broken:
            return _channel_groups(graph, tied, groups.part, blocks.part)
        for labels in broken:
            graph.mark_unprunable(labels, "groups of them would not stay equal")


_Constraint = tuple[Ints, Ints]
"""The labels of blocks that must lose equally many channels, and their tied channels: a row per block."""


def _constraints(graph: DependencyGraph, tied: TiedChannels) -> tuple[list[_Constraint], list[Ints]]:
    """The constraints between blocks, and the labels of the blocks that cannot be kept equal."""
    decides = np.full(graph.class_count, -1)  # the tied channel that decides on each class, -1 for none
    decides[graph.input_class] = decides[graph.output_class] = tied.of_factor
    constraints, broken = [], []
    for labels in graph.records.equal_blocks:
        classes = graph.class_of_label[labels]
        rows = decides[classes]
        kept = (graph.class_reasons[classes] > 0) | (rows < 0) | (tied.reasons[rows] > 0)
        distinct, times = np.unique(rows, return_counts=True)
        if distinct.size == rows.size and not kept.any():
            constraints.append((labels, rows))  # the common case: each channel is in one block, once
            continue
        ordered = np.sort(classes, axis=1)
        if kept.all() or (ordered == ordered[0]).all():
            continue  # nothing can be removed, or the blocks have the same channels: equal in any case
        distinct_per_block = (np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1) + 1
        each_in_one_block = distinct_per_block.sum() == distinct.size
        equally_often = np.ptp(times) == 0 and np.ptp(distinct_per_block) == 0
        if kept.any() or not each_in_one_block or not equally_often:
            broken.append(labels)
        else:
            constraints.append((labels, rows))
    return constraints, broken


def _partition(tied: TiedChannels, constraints: list[_Constraint]) -> tuple[Partition, Partition]:
    """Divide the tied channels into groups, and these into blocks.

    A group: the same reason to be kept, factors of the same BatchNorms, and the same constraints. A block: a
    part of a group that is in the same row of each constraint.
    """
    groups = Partition(tied.reasons.copy())
    for size in np.flatnonzero(np.bincount(tied.sizes)):
        own = np.flatnonzero(tied.sizes == size)
        groups.split(own, numbered_columns(tied.norms[tied.starts[own] + np.arange(size)[:, None]]))
    batches = _disjoint([rows for _, rows in constraints], tied.sizes.size)
    for batch in batches:
        groups.split(*_marked(batch, [np.full(rows.size, number) for number, rows in enumerate(batch)]))
    blocks = Partition(groups.part.copy())
    for batch in batches:
        blocks.split(*_marked(batch, [np.repeat(np.arange(len(rows)), rows.shape[1]) for rows in batch]))
    return groups, blocks


def _disjoint(constraints: list[Ints], count: int) -> list[list[Ints]]:
    """The rows of the constraints in batches: two with a tied channel in common are in different batches, in
    their order. A batch divides the channels at once, which takes much less time for a small network.
    """
    batches: list[list[Ints]] = []
    first = np.zeros(count, dtype=np.int64)  # the first batch that each tied channel may be in
    for rows in constraints:
        number = int(first[rows].max())
        if number == len(batches):
            batches.append([])
        batches[number].append(rows)
        first[rows] = number + 1
    return batches


def _marked(batch: list[Ints], marks: list[Ints]) -> tuple[Ints, Ints]:
    """The tied channels of a batch, and their marks."""
    return np.concatenate([rows.ravel() for rows in batch]), np.concatenate(marks)


def _is_even(groups: Ints, sizes: Ints) -> bool:
    """Whether one group contains all channels of a constraint, in blocks of equal size.

    Args:
        groups, sizes: for each channel of the constraint, its group and the size of its block.
    """
    return bool((groups == groups[0, 0]).all() and (sizes == sizes[0, 0]).all())


def _channel_groups(graph: DependencyGraph, tied: TiedChannels, group: Ints, block: Ints) -> ChannelGroups:
    """The groups as `ranking.choose` reads them, in the order of the network.

    The importance of a tied channel is the mean |gamma| of its factors.

    Args:
        group, block: int64[tied], the part that each tied channel is in.
    """
    importance = np.bincount(tied.of_factor, graph.importance) / tied.sizes
    first = tied.factors[tied.starts]
    order = np.lexsort((first, block, group))
    ends = np.flatnonzero(np.diff(group[order])) + 1
    groups: list[ChannelGroup] = []
    members: dict[str, Ints] = {}
    for own in sorted(np.split(order, ends), key=lambda own: int(first[own].min())):
        name = _name(graph, tied, own, members)
        members[name] = own
        reason, blocks = int(tied.reasons[own[0]]), run_starts(block[own]).size
        frozen = graph.reason_text(reason) if reason else ""
        groups.append(ChannelGroup(name, importance[own], int(tied.sizes[own[0]]), blocks, frozen))
    return ChannelGroups(tuple(groups), tied.of_factor, members)


def _name(graph: DependencyGraph, tied: TiedChannels, own: Ints, taken: Container[str]) -> str:
    """The first BatchNorm of a group, how many more there are, and the range of channels if it is a part."""
    start = tied.starts[own[0]]
    norms = tied.norms[start : start + tied.sizes[own[0]]]
    others = run_starts(norms).size - 1
    name: str = graph.norms[norms[0]].path + (f" (+{others})" if others else "")
    if name not in taken:
        return name
    channels = tied.factors[tied.starts[own]] - graph.norm_starts[norms[0]]
    return f"{name} [{channels.min()}-{channels.max()}]"
