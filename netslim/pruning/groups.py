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

from netslim.dependency.equivalence import Ints, equivalence_classes
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.pruning.options import Policy
from netslim.pruning.removal_steps import ChannelGroup

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
        tied = _TiedChannels.of(graph, policy)
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


@dataclass(frozen=True, eq=False)
class _TiedChannels:
    """The factors of a network divided into tied channels.

    Args:
        of_factor: int64[factors], the tied channel of each factor.
        sizes: int64[tied], how many factors each tied channel has.
        factors: int64[factors], the factors ordered by tied channel, then by number.
        starts: int64[tied], where the factors of each tied channel begin in `factors`.
        norms: int64[factors], the BatchNorm of each entry of `factors`.
        reasons: int64[tied], why it cannot be removed (see `DependencyGraph.reason_text`); 0 if it can.
    """

    of_factor: Ints
    sizes: Ints
    factors: Ints
    starts: Ints
    norms: Ints
    reasons: Ints

    @classmethod
    def of(cls, graph: DependencyGraph, policy: Policy) -> _TiedChannels:
        # A ChannelSelect can only stand around a BatchNorm whose type is known.
        no_select = ~np.array([norm.standard for norm in graph.norms])[graph.norm_of_factor]
        joint = _joint_classes(graph, policy, no_select) & (graph.class_reasons == 0)
        # All factors that read or feed a joint class are tied to one of them.
        pairs = []
        one = np.zeros(graph.class_count, dtype=np.int64)
        touched = [(of, np.flatnonzero(joint[of])) for of in (graph.input_class, graph.output_class)]
        for class_of, factors in touched:
            one[class_of[factors]] = factors
        for class_of, factors in touched:
            pairs.append((one[class_of[factors]], factors))
        of_factor = equivalence_classes(graph.norm_of_factor.size, pairs)
        sizes = np.bincount(of_factor)
        factors = np.argsort(of_factor, kind="stable")
        reason_of_factor = _factor_reasons(graph, policy, no_select)
        kept = np.flatnonzero(reason_of_factor)
        reasons = np.zeros(sizes.size, dtype=np.int64)
        np.maximum.at(reasons, of_factor[kept], reason_of_factor[kept])
        return cls(
            of_factor, sizes, factors, np.cumsum(sizes) - sizes, graph.norm_of_factor[factors], reasons
        )


def _joint_classes(graph: DependencyGraph, policy: Policy, no_select: Bools) -> Bools:
    """bool[classes]: the channels that are removed by all BatchNorms around them together."""
    if policy == "group":
        return np.ones(graph.class_count, dtype=bool)
    records = graph.records
    joint = np.zeros(graph.class_count, dtype=bool)
    feeders = np.bincount(graph.output_class, minlength=graph.class_count)
    if records.depthwise_inputs:  # BatchNorm, depthwise convolution, BatchNorm: no selection fits between
        joint[graph.class_of_label[np.concatenate(records.depthwise_inputs)]] = True
        joint &= feeders > 0
    if policy == "auto":  # outputs of several BatchNorms are added
        joint |= feeders > 1
    for labels in records.equal_blocks:
        joint[graph.class_of_label[labels]] = True
    joint[graph.input_class[no_select]] = joint[graph.output_class[no_select]] = True
    return joint


def _factor_reasons(graph: DependencyGraph, policy: Policy, no_select: Bools) -> Ints:
    """int64[factors]: the reason why a factor cannot be removed; 0 if it can."""
    reads, feeds = graph.class_reasons[graph.input_class], graph.class_reasons[graph.output_class]
    if policy != "group":  # with a selection, a BatchNorm can lose channels of a tensor that loses none
        reads, feeds = np.where(no_select, reads, 0), np.where(no_select, feeds, 0)
    return np.maximum(graph.factor_reasons, np.where(feeds > 0, feeds, reads))


_Constraint = tuple[Ints, Ints]
"""The labels of blocks that must lose equally many channels, and their tied channels: a row per block."""


def _constraints(graph: DependencyGraph, tied: _TiedChannels) -> tuple[list[_Constraint], list[Ints]]:
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


class _Partition:
    """A division of numbered things into parts, which is refined step by step.

    Args:
        part: int64[things], the part of each thing; changed in place.
    """

    def __init__(self, part: Ints) -> None:
        self.part = part
        self.next = int(part.max(initial=-1)) + 1

    def split(self, members: Ints, marks: Ints) -> None:
        """Move `members` to new parts: those that were in one part and have the same mark stay together."""
        new = _numbered(self.part[members] * (int(marks.max(initial=0)) + 1) + marks)
        self.part[members] = self.next + new
        self.next += int(new.max(initial=-1)) + 1


def _numbered(keys: Ints) -> Ints:
    """The keys numbered from 0 in ascending order, equal ones alike."""
    starts = _run_starts(keys)  # equal neighbours are the rule, so sorting one key per run is faster
    numbers = np.unique(keys[starts], return_inverse=True)[1]
    return np.repeat(numbers, np.diff(starts, append=keys.size))


def _numbered_columns(columns: Ints) -> Ints:
    """The columns of an array of numbers >= 0, numbered from 0, equal ones alike."""
    if columns.shape[1] == 1:
        return np.zeros(1, dtype=np.int64)
    base = int(columns.max(initial=0)) + 1
    keys, bound = columns[0], base
    for row in columns[1:]:
        if bound > _MOST_KEYS // base:
            keys = _numbered(keys)
            bound = int(keys.max(initial=0)) + 1
        keys, bound = keys * base + row, bound * base
    return _numbered(keys)


_MOST_KEYS = 1 << 62


def _partition(tied: _TiedChannels, constraints: list[_Constraint]) -> tuple[_Partition, _Partition]:
    """Divide the tied channels into groups, and these into blocks.

    A group: the same reason to be kept, factors of the same BatchNorms, and the same constraints. A block: a
    part of a group that is in the same row of each constraint.
    """
    groups = _Partition(tied.reasons.copy())
    for size in np.flatnonzero(np.bincount(tied.sizes)):
        own = np.flatnonzero(tied.sizes == size)
        groups.split(own, _numbered_columns(tied.norms[tied.starts[own] + np.arange(size)[:, None]]))
    batches = _disjoint([rows for _, rows in constraints], tied.sizes.size)
    for batch in batches:
        groups.split(*_marked(batch, [np.full(rows.size, number) for number, rows in enumerate(batch)]))
    blocks = _Partition(groups.part.copy())
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


def _channel_groups(graph: DependencyGraph, tied: _TiedChannels, group: Ints, block: Ints) -> ChannelGroups:
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
        reason, blocks = int(tied.reasons[own[0]]), _run_starts(block[own]).size
        frozen = graph.reason_text(reason) if reason else ""
        groups.append(ChannelGroup(name, importance[own], int(tied.sizes[own[0]]), blocks, frozen))
    return ChannelGroups(tuple(groups), tied.of_factor, members)


def _name(graph: DependencyGraph, tied: _TiedChannels, own: Ints, taken: Container[str]) -> str:
    """The first BatchNorm of a group, how many more there are, and the range of channels if it is a part."""
    start = tied.starts[own[0]]
    norms = tied.norms[start : start + tied.sizes[own[0]]]
    others = _run_starts(norms).size - 1
    name: str = graph.norms[norms[0]].path + (f" (+{others})" if others else "")
    if name not in taken:
        return name
    channels = tied.factors[tied.starts[own]] - graph.norm_starts[norms[0]]
    return f"{name} [{channels.min()}-{channels.max()}]"


def _run_starts(values: Ints) -> Ints:
    """Where each run of equal values begins."""
    starts = np.ones(values.size, dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    return np.flatnonzero(starts)
