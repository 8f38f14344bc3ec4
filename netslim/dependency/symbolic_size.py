"""Sizes that a model reads from a tensor's shape: integers that keep the labels of the channels they count.

`x.view(n, 2, c // 2, h, w)` stays correct when channels are removed, because `c` is read from the shape
again. `x.view(n, 2, 58, h, w)` does not. A `ChannelCount` tells the two apart. Products and exact quotients
with an integer are followed. If the model computes anything else from a count, or decides by it, the counted
channels are marked as unprunable.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from netslim.dependency.equivalence import Ints
from netslim.dependency.records import TraceRecords

__all__ = ["ChannelCount"]


def _as_number(method: Callable[..., Any]) -> Any:
    """The method of `int`, after all counts among its operands are marked as used."""

    def operation(self: ChannelCount, *others: Any) -> Any:
        for value in (self, *others):
            if isinstance(value, ChannelCount):
                value.mark_unprunable()
        return method(self, *others)

    return operation


class ChannelCount(int):
    """`ratio` times the number of channels in `labels`.

    Args:
        records: where the labels are marked if the number itself is used.
        labels: int64, the counted channels, with repetition if a channel is counted several times.
        ratio: the number divided by `labels.size`.
    """

    records: TraceRecords
    labels: Ints
    ratio: Fraction

    def __new__(cls, records: TraceRecords, labels: Ints, ratio: Fraction = Fraction(1)) -> ChannelCount:
        self = super().__new__(cls, ratio * labels.size)
        self.records, self.labels, self.ratio = records, labels, ratio
        return self

    def mark_unprunable(self) -> None:
        """The number itself was used, so the counted channels must stay."""
        self.records.mark_unprunable(self.labels, f"their number is used in {self.records.source_line()}")

    def is_proportional_to(self, labels: Ints) -> bool:
        """Whether the count stays proportional to the number of `labels` that stay, whichever are removed."""
        own, own_times = np.unique(self.labels, return_counts=True)
        others, other_times = np.unique(labels, return_counts=True)
        return np.array_equal(own, others) and bool(
            (own_times * labels.size == other_times * self.labels.size).all()
        )

    def __mul__(self, other: Any) -> Any:
        if type(other) is int:
            return ChannelCount(self.records, self.labels, self.ratio * other)
        return _as_number(int.__mul__)(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is int and other and int(self) % other == 0:
            return ChannelCount(self.records, self.labels, self.ratio / other)
        return _as_number(int.__floordiv__)(self, other)

    __rfloordiv__ = _as_number(int.__rfloordiv__)
    __add__, __radd__ = _as_number(int.__add__), _as_number(int.__radd__)
    __sub__, __rsub__ = _as_number(int.__sub__), _as_number(int.__rsub__)
    __truediv__, __rtruediv__ = _as_number(int.__truediv__), _as_number(int.__rtruediv__)
    __mod__, __rmod__ = _as_number(int.__mod__), _as_number(int.__rmod__)
    __divmod__, __rdivmod__ = _as_number(int.__divmod__), _as_number(int.__rdivmod__)
    __pow__, __rpow__ = _as_number(int.__pow__), _as_number(int.__rpow__)
    __lshift__, __rlshift__ = _as_number(int.__lshift__), _as_number(int.__rlshift__)
    __rshift__, __rrshift__ = _as_number(int.__rshift__), _as_number(int.__rrshift__)
    __and__, __rand__ = _as_number(int.__and__), _as_number(int.__rand__)
    __or__, __ror__ = _as_number(int.__or__), _as_number(int.__ror__)
    __xor__, __rxor__ = _as_number(int.__xor__), _as_number(int.__rxor__)
    __neg__, __pos__, __abs__ = _as_number(int.__neg__), _as_number(int.__pos__), _as_number(int.__abs__)
    __invert__, __round__ = _as_number(int.__invert__), _as_number(int.__round__)
    __float__ = _as_number(int.__float__)
    __eq__, __ne__ = _as_number(int.__eq__), _as_number(int.__ne__)
    __lt__, __le__ = _as_number(int.__lt__), _as_number(int.__le__)
    __gt__, __ge__ = _as_number(int.__gt__), _as_number(int.__ge__)
    __hash__ = int.__hash__
