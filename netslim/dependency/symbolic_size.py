"""Channel counts that a model reads from a tensor's shape: integers that remember what they count.

`x.view(n, 2, c // 2, h, w)` stays right when channels go, because `c` is read anew. `x.view(n, 2, 58, h, w)`
does not. The two are told apart here; and where a model computes anything else from a count, or decides
by it, the channels counted must stay.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from netslim.dependency.equivalence import Ints
from netslim.dependency.records import TraceRecords

__all__ = ["Count"]


class Count(int):
    """`ratio` times the number of channels in `labels`."""

    records: TraceRecords
    labels: Ints
    ratio: Fraction

    def __new__(cls, records: TraceRecords, labels: Ints, ratio: Fraction = Fraction(1)) -> Count:
        self = super().__new__(cls, ratio * labels.size)
        self.records, self.labels, self.ratio = records, labels, ratio
        return self

    def mark_unprunable(self) -> None:
        """The number itself was used: it has to stay what it is."""
        self.records.mark_unprunable(self.labels, f"their number is used in {self.records.source_line()}")

    def follows(self, labels: Ints) -> bool:
        """Whether the number changes in proportion to how many of `labels` stay, whichever go."""
        mine, mine_times = np.unique(self.labels, return_counts=True)
        others, other_times = np.unique(labels, return_counts=True)
        return np.array_equal(mine, others) and bool(
            (mine_times * labels.size == other_times * self.labels.size).all()
        )

    def __mul__(self, other: Any) -> Any:
        if type(other) is int:
            return Count(self.records, self.labels, self.ratio * other)
        return _fixed("__mul__")(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is int and other and int(self) % other == 0:
            return Count(self.records, self.labels, self.ratio / other)
        return _fixed("__floordiv__")(self, other)

    __hash__ = int.__hash__


def _fixed(name: str) -> Any:
    plain = getattr(int, name)

    def operation(self: Count, *others: Any) -> Any:
        for value in (self, *others):
            if isinstance(value, Count):
                value.mark_unprunable()
        return plain(self, *others)

    return operation


for _name in (
    *("__add__", "__radd__", "__sub__", "__rsub__", "__truediv__", "__rtruediv__", "__rfloordiv__"),
    *("__mod__", "__rmod__", "__divmod__", "__rdivmod__", "__pow__", "__rpow__", "__neg__", "__float__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
):
    setattr(Count, _name, _fixed(_name))
