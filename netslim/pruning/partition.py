"""Division of numbered things into parts, by numbers that they share."""

from __future__ import annotations

import numpy as np

from netslim.dependency.equivalence import Ints

__all__ = ["Partition", "numbered_columns", "run_starts"]

_MOST_KEYS = 1 << 62
"""Above all keys that are computed from several numbers, so that they fit into int64."""


class Partition:
    """A division that is refined step by step.

    Args:
        part: int64[things], the part of each thing; changed in place.
    """

    def __init__(self, part: Ints) -> None:
        self.part = part
        self.next = int(part.max(initial=-1)) + 1

    def split(self, members: Ints, marks: Ints) -> None:
        """Move `members` to new parts: those that were in one part and have the same mark stay together.

        Args:
            marks: numbers from 0 on, one for each member.
        """
        new = _numbered(self.part[members] * (int(marks.max(initial=0)) + 1) + marks)
        self.part[members] = self.next + new
        self.next += int(new.max(initial=-1)) + 1


def numbered_columns(columns: Ints) -> Ints:
    """Number the columns of an array of numbers from 0 on: equal columns have the same number.

    For example, [[5, 5, 5], [1, 2, 1]] gives [0, 1, 0].
    """
    base = int(columns.max(initial=0)) + 1
    keys, bound = columns[0], base
    for row in columns[1:] if columns.shape[1] > 1 else ():
        if bound > _MOST_KEYS // base:
            keys = _numbered(keys)
            bound = int(keys.max()) + 1
        keys, bound = keys * base + row, bound * base
    return _numbered(keys)


def _numbered(keys: Ints) -> Ints:
    """The keys numbered from 0 in ascending order, equal ones alike."""
    starts = run_starts(keys)  # equal neighbours are the rule, so sorting one key per run is faster
    numbers = np.unique(keys[starts], return_inverse=True)[1]
    return np.repeat(numbers, np.diff(starts, append=keys.size))


def run_starts(values: Ints) -> Ints:
    """Where each run of equal values begins."""
    starts = np.ones(values.size, dtype=bool)
    starts[1:] = values[1:] != values[:-1]
    return np.flatnonzero(starts)
