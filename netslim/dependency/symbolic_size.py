"""Sizes that a model reads from a shape or a layer: integers that keep the labels of the channels they count.

`x.view(n, 2, c // 2, h, w)` stays correct when channels are removed, because `c` is read from the shape
again. `x.view(n, 2, 58, h, w)` does not. With a `ChannelCount` the two differ. Products and exact quotients
with an integer, sums of counts, and comparisons that have the same answer for every smaller width are
followed. If the model computes anything else from a count, or decides by it, the counted channels are marked
as unprunable.

A count of one tensor may be the size of another: `y.view(b, c, 1, 1)` with the `c` of `x`, or
`assert x.shape == y.shape`. Both must then lose equally many channels. Often they are tied anyway, by an
operation that comes later, so this is decided after the trace, by `netslim.dependency.settle`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from netslim.dependency.equivalence import Ints
from netslim.dependency.records import TraceRecords

__all__ = ["ChannelCount", "ParameterCount", "plain"]

plain = operator.index
"""The number in a count. It is not recorded; `int(count)` is, because the model may call that."""

_ONE = Fraction(1)


def _as_number(method: Callable[..., Any]) -> Any:
    """The method of `int`, after all counts among its operands are marked as used."""

    def operation(self: ChannelCount, *others: Any) -> Any:
        for value in (self, *others):
            if isinstance(value, ChannelCount):
                value.mark_unprunable()
        return method(self, *others)

    return operation


def _comparison(compare: Callable[[Any, Any], bool]) -> Any:
    """A comparison. It is followed if its answer stays the same when channels are removed."""

    def operation(self: ChannelCount, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        answer = compare(plain(self), plain(other) if isinstance(other, int) else other)
        if isinstance(other, ChannelCount):
            if plain(self) != plain(other) or compare not in (operator.eq, operator.ne):
                fixed = False
            else:
                fixed = self.ratio == other.ratio and self.follows(other.labels)
            if not fixed:
                other.mark_unprunable()
        else:
            fixed = _same_for_all(compare, 1 if self.ratio >= 1 else 0, plain(self), other)
        if not fixed:
            self.mark_unprunable()
        return answer

    return operation


def _same_for_all(compare: Callable[[Any, Any], bool], least: int, most: int, other: float) -> bool:
    """Whether all numbers from `least` to `most` compare alike with another number."""
    if compare in (operator.eq, operator.ne):
        return not least <= other <= most
    return compare(least, other) == compare(most, other)


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

    def __new__(cls, records: TraceRecords, labels: Ints, ratio: Fraction = _ONE) -> ChannelCount:
        self = super().__new__(cls, labels.size if ratio is _ONE else ratio * labels.size)
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

    def follows(self, labels: Ints) -> bool:
        """Whether the count stays proportional to the number of `labels` that stay.

        Where they are other channels, but equally many, this is required: see `netslim.dependency.settle`.
        """
        if self.is_proportional_to(labels):
            return True
        own, own_times = np.unique(self.labels, return_counts=True)
        others, other_times = np.unique(labels, return_counts=True)
        if own.size != others.size or np.ptp(own_times) or np.ptp(other_times):
            return False
        self.records.equal_counts.append((own, others))
        return True

    def __mul__(self, other: Any) -> Any:
        if type(other) is int:
            return ChannelCount(self.records, self.labels, self.ratio * other)
        return _as_number(int.__mul__)(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if type(other) is int and other and plain(self) % other == 0:
            return ChannelCount(self.records, self.labels, self.ratio / other)
        return _as_number(int.__floordiv__)(self, other)

    def __mod__(self, other: Any) -> Any:
        """The remainder 0 stays 0 if channels are removed from that many blocks alike."""
        labels = self.labels.ravel()
        divides = type(other) is int and other > 1 and self.ratio == 1 and labels.size % other == 0
        if divides and np.unique(labels).size == labels.size:
            self.records.require_equal_blocks(labels.reshape(other, -1))
            return 0
        return 0 if type(other) is int and other == 1 else _as_number(int.__mod__)(self, other)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, ChannelCount) and other.ratio == self.ratio:
            both = np.concatenate([self.labels.ravel(), other.labels.ravel()])
            return ChannelCount(self.records, both, self.ratio)
        if type(other) is int and other == 0:
            return self
        return _as_number(int.__add__)(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        """The number of channels that follow others, or come before them, in the same tensor."""
        if type(other) is int and other == 0:
            return self
        if isinstance(other, ChannelCount) and other.ratio == self.ratio:
            own, less = self.labels.ravel(), other.labels.ravel()
            if less.size < own.size and np.array_equal(own[: less.size], less):
                return ChannelCount(self.records, own[less.size :], self.ratio)
            if less.size < own.size and np.array_equal(own[-less.size :], less):
                return ChannelCount(self.records, own[: -less.size], self.ratio)
        return _as_number(int.__sub__)(self, other)

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """A function of numpy uses the number."""
        numbers = [int(value) if isinstance(value, ChannelCount) else value for value in inputs]
        return getattr(function, method)(*numbers, **options)

    __rsub__ = _as_number(int.__rsub__)
    __rfloordiv__ = _as_number(int.__rfloordiv__)
    __truediv__, __rtruediv__ = _as_number(int.__truediv__), _as_number(int.__rtruediv__)
    __rmod__ = _as_number(int.__rmod__)
    __divmod__, __rdivmod__ = _as_number(int.__divmod__), _as_number(int.__rdivmod__)
    __pow__, __rpow__ = _as_number(int.__pow__), _as_number(int.__rpow__)
    __lshift__, __rlshift__ = _as_number(int.__lshift__), _as_number(int.__rlshift__)
    __rshift__, __rrshift__ = _as_number(int.__rshift__), _as_number(int.__rrshift__)
    __and__, __rand__ = _as_number(int.__and__), _as_number(int.__rand__)
    __or__, __ror__ = _as_number(int.__or__), _as_number(int.__ror__)
    __xor__, __rxor__ = _as_number(int.__xor__), _as_number(int.__rxor__)
    __neg__, __pos__, __abs__ = _as_number(int.__neg__), _as_number(int.__pos__), _as_number(int.__abs__)
    __invert__, __round__ = _as_number(int.__invert__), _as_number(int.__round__)
    __int__, __float__, __trunc__ = _as_number(int.__int__), _as_number(int.__float__), _as_number(plain)
    __str__, __format__ = _as_number(int.__repr__), _as_number(int.__format__)
    __eq__, __ne__ = _comparison(operator.eq), _comparison(operator.ne)
    __lt__, __le__ = _comparison(operator.lt), _comparison(operator.le)
    __gt__, __ge__ = _comparison(operator.gt), _comparison(operator.ge)
    __hash__ = int.__hash__


class ParameterCount(ChannelCount):
    """The size of a parameter along one axis, read from its shape or from an attribute of its layer.

    Args:
        path: the path of the parameter.
        axis: the axis as in `TraceRecords.axes`; None if it is not followed: then the parameter must stay
            as it is once the number is used.
        module: the path of the layer, if the number is read from its attribute.
    """

    path: str
    axis: int | None
    module: str
    ratio = _ONE

    def __new__(
        cls, records: TraceRecords, size: int, path: str, axis: int | None, module: str = ""
    ) -> ParameterCount:
        self = int.__new__(cls, size)
        self.records, self.path, self.axis, self.module = records, path, axis, module
        return self

    @property
    def labels(self) -> Ints:  # type: ignore[override]
        """The labels along the axis; new ones that must stay if it is not followed."""
        records, path = self.records, self.path
        if self.axis is not None:
            return records.axis_labels(path, self.axis, plain(self))
        records.keep_whole(path, f"its size is used in {records.source_line()}")
        labels = records.new_labels(plain(self))
        records.mark_unprunable(labels, records.kept_whole[path])
        return labels
