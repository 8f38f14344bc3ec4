"""Which choices are independent: from classes of channels and a policy to the units that are ranked.

Two BatchNorms that feed one residual stream, or read it, can choose together (*group*): then their channels
vanish from the stream. Or each chooses alone (*select*): the stream stays as wide as anyone needs it, and
selections and narrow branches stand between. The importance of a joint choice is the mean of its |gamma|.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from netslim.dependency.equivalence import Ints, equivalence_classes
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.errors import ConfigError
from netslim.pruning.removal_steps import ChannelGroup

__all__ = ["ChannelGroups", "Policy", "group_channels"]

Policy = Literal["auto", "group", "select"]


@dataclass(frozen=True, eq=False)
class ChannelGroups:
    """The units, and what each of their channels stands for.

    Args:
        units: what `threshold.choose` picks from.
        element: the joint choice that each position (channel of a BatchNorm) belongs to.
        members: for each unit by name, the joint choices in the order of its channels.
    """

    units: tuple[ChannelGroup, ...]
    element: Ints
    members: dict[str, Ints]

    def removed(self, keep: dict[str, Ints]) -> Bools:
        """bool[positions]: what goes when these channels of each unit stay."""
        gone = np.zeros(int(self.element.max(initial=-1)) + 1, dtype=bool)
        for name, members in self.members.items():
            gone[np.delete(members, keep[name])] = True
        return gone[self.element]


def group_channels(structure: DependencyGraph, policy: Policy) -> ChannelGroups:
    """Find the independent choices.

    A class that would have to vanish in equal numbers from several blocks, and cannot be held to that, is
    frozen; this may undo what others need, so it is repeated until nothing changes.

    Raises:
        ConfigError: unknown policy.
    """
    if policy not in get_args(Policy):
        remedy = f"Use one of {', '.join(get_args(Policy))}"
        raise ConfigError("unknown policy", field="policy", value=policy, remedy=remedy)
    while True:
        search = _Search(structure, policy)
        broken = search.units()
        if not broken:
            return search.coupling()
        for labels in broken:
            structure.mark_unprunable(labels, "groups of them would not stay equal")


class _Search:
    """One round: tie positions to elements, elements to units, and see which equal counts cannot be kept."""

    def __init__(self, structure: DependencyGraph, policy: Policy) -> None:
        self.structure, self.policy = structure, policy
        self.fixed = ~np.array([norm.standard for norm in structure.norms])[structure.norm_of_factor]
        joint = self._joint() & (structure.class_reasons == 0)
        touching = [
            (touched, np.flatnonzero(joint[touched]))
            for touched in (structure.input_class, structure.output_class)
        ]
        one = np.zeros(structure.class_count, dtype=np.int64)
        for touched, positions in touching:
            one[touched[positions]] = positions  # any of those that touch a class stands for all
        same = [(one[touched[positions]], positions) for touched, positions in touching]
        self.element = equivalence_classes(structure.norm_of_factor.size, same)
        self.sizes = np.bincount(self.element)
        self.count = self.sizes.size
        self.begin = np.cumsum(self.sizes) - self.sizes
        # The positions element by element, and within one in the order of the network, as they are numbered.
        self.members = np.argsort(self.element, kind="stable")
        self.owners = structure.norm_of_factor[self.members]
        self.reason = np.zeros(self.count, dtype=np.int64)
        reasons = self._frozen_positions()
        held = np.flatnonzero(reasons)
        np.maximum.at(self.reason, self.element[held], reasons[held])

    def _joint(self) -> Bools:
        """The classes that all BatchNorms that touch them remove together."""
        structure, records = self.structure, self.structure.records
        if self.policy == "group":
            return np.ones(structure.class_count, dtype=bool)
        joint = np.zeros(structure.class_count, dtype=bool)
        feeders = np.bincount(structure.output_class, minlength=structure.class_count)
        if records.depthwise_inputs:  # BatchNorm - depthwise convolution - BatchNorm: one choice, made twice
            joint[structure.class_of_label[np.concatenate(records.depthwise_inputs)]] = True
            joint &= feeders > 0
        if self.policy == "auto":
            joint |= feeders > 1
        for blocks in records.equal_blocks:
            joint[structure.class_of_label[blocks]] = True
        joint[structure.input_class[self.fixed]] = joint[structure.output_class[self.fixed]] = True
        return joint

    def _frozen_positions(self) -> Ints:
        """For each position, the reason why it may not go, or 0."""
        structure = self.structure
        reasons = structure.class_reasons
        own, read, fed = (
            structure.factor_reasons,
            reasons[structure.input_class],
            reasons[structure.output_class],
        )
        if self.policy != "group":  # selections let a BatchNorm choose beside a tensor that has to stay whole
            read, fed = np.where(self.fixed, read, 0), np.where(self.fixed, fed, 0)
        return np.maximum(own, np.where(fed > 0, fed, read))

    def units(self) -> list[Ints]:
        """Find the units; returns the blocks of labels that cannot be kept equal, if any."""
        structure = self.structure
        chooser = np.full(structure.class_count, -1)
        chooser[structure.input_class] = chooser[structure.output_class] = self.element
        found = [(blocks, self._rows(blocks, chooser)) for blocks in structure.records.equal_blocks]
        broken = [blocks for blocks, rows in found if rows is None]
        held = [(blocks, rows) for blocks, rows in found if rows is not None and rows.size]
        # Elements are in one unit when nothing tells them apart, in one cell of it when no block does either.
        units = self._signatures()
        shapes = np.array([rows.shape for _, rows in held], dtype=np.int64).reshape(-1, 2)
        members = np.concatenate([self.element[:0], *(rows.ravel() for _, rows in held)])
        first = np.concatenate([self.element[:0], *(rows[:1, 0] for _, rows in held)])
        owner = np.repeat(np.arange(len(held)), shapes.prod(axis=1))
        row = np.repeat(np.arange(shapes[:, 0].sum()), np.repeat(shapes[:, 1], shapes[:, 0]))
        turns = _turns(members)  # an element may be held by several
        for turn in turns:
            units.tell_apart(members[turn], owner[turn])
        cells = _Parts(units.numbers.copy())
        for turn in turns:
            cells.tell_apart(members[turn], row[turn])
        self.unit, self.cell = units.numbers, cells.numbers
        size = np.bincount(self.cell)[self.cell]
        uneven = (self.unit[members] != self.unit[first][owner]) | (size[members] != size[first][owner])
        return [*broken, *(held[number][0] for number in np.unique(owner[uneven]))]

    def _signatures(self) -> _Parts:
        """A part for each kind of element: the same BatchNorms have as many positions in it."""
        signatures = _Parts(self.reason.copy())
        for size in np.flatnonzero(np.bincount(self.sizes)):
            own = np.flatnonzero(self.sizes == size)
            owners = self.owners[self.begin[own] + np.arange(size)[:, None]]  # of each element, a column
            starts = _starts(owners)
            kind = np.unique(owners[:, starts], axis=1, return_inverse=True)[1].ravel()
            signatures.tell_apart(own, np.repeat(kind, np.diff(starts, append=own.size)))
        return signatures

    def _rows(self, blocks: Ints, chooser: Ints) -> Ints | None:
        """The elements of each block; empty if the blocks are equal by themselves, None if never for sure.

        Args:
            chooser: the element that decides on each class, -1 for none.
        """
        structure = self.structure
        kinds = structure.class_of_label[blocks]
        rows = chooser[kinds]
        stays = (structure.class_reasons[kinds] > 0) | (rows < 0) | (self.reason[rows] > 0)
        each, times = np.unique(rows, return_counts=True)
        if each.size == rows.size and not stays.any():
            return rows  # as it is for most
        ordered = np.sort(kinds, axis=1)
        if stays.all() or (ordered == ordered[:1]).all():
            return np.empty((0, 0), dtype=np.int64)
        once = (np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1) + 1
        if stays.any() or np.ptp(times) or np.ptp(once) or once.sum() != each.size:
            return None  # some stay and some may go, or one channel counts in several blocks
        return rows

    def coupling(self) -> ChannelGroups:
        """The units as `threshold.choose` takes them, the BatchNorms in the order of the network."""
        structure = self.structure
        importance = np.bincount(self.element, structure.importance, self.count) / self.sizes
        first = self.members[self.begin]
        order = np.lexsort((first, self.cell, self.unit))
        bounds = np.flatnonzero(np.diff(self.unit[order])) + 1
        units: list[ChannelGroup] = []
        members: dict[str, Ints] = {}
        for elements in sorted(np.split(order, bounds), key=lambda own: int(first[own].min())):
            name = self._name(elements, first, members)
            members[name] = elements
            reason, groups = int(self.reason[elements[0]]), _starts(self.cell[elements]).size
            why = structure.reason_text(reason) if reason else ""
            units.append(ChannelGroup(name, importance[elements], int(self.sizes[elements[0]]), groups, why))
        return ChannelGroups(tuple(units), self.element, members)

    def _name(self, elements: Ints, first: Ints, taken: Container[str]) -> str:
        """The first BatchNorm, how many share its choice, and which of its channels if there are others."""
        structure = self.structure
        start = self.begin[elements[0]]
        owners = self.owners[start : start + self.sizes[elements[0]]]
        name: str = structure.norms[owners[0]].path
        others = _starts(owners).size - 1
        name += f" (+{others})" if others else ""
        if name not in taken:
            return name
        channels = first[elements] - structure.norm_starts[owners[0]]
        return f"{name} [{channels.min()}-{channels.max()}]"


class _Parts:
    """A set taken apart, step by step.

    Args:
        numbers: the part of each thing; changed in place.
    """

    def __init__(self, numbers: Ints) -> None:
        self.numbers = numbers
        self.next = int(numbers.max(initial=-1)) + 1

    def tell_apart(self, members: Ints, mark: Ints) -> None:
        """Take `members` out of their parts; those of one part with one mark stay together."""
        keys = self.numbers[members] * (int(mark.max(initial=0)) + 1) + mark
        starts = _starts(keys)  # neighbours are alike for the most part, and sorting takes long
        kinds, kind = np.unique(keys[starts], return_inverse=True)
        self.numbers[members] = self.next + np.repeat(kind, np.diff(starts, append=keys.size))
        self.next += kinds.size


def _turns(values: Ints) -> list[Ints]:
    """Where each value stands for the first time, where for the second, and so on."""
    order = np.argsort(values, kind="stable")
    starts = _starts(values[order])
    turn = np.empty_like(order)
    turn[order] = np.arange(order.size) - np.repeat(starts, np.diff(starts, append=order.size))
    return [np.flatnonzero(turn == number) for number in range(int(turn.max(initial=-1)) + 1)]


def _starts(values: Ints) -> Ints:
    """Where each run of equal values begins, or of equal columns."""
    differ = values[..., 1:] != values[..., :-1]
    apart = np.ones(values.shape[-1], dtype=bool)
    apart[1:] = differ if values.ndim == 1 else differ.any(axis=0)
    return np.flatnonzero(apart)
