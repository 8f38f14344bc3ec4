"""Numbers of channels that a model keeps in attributes: `torch.split(x, self.splits, 1)`, `x[:, : self.n]`.

Such a number can get smaller with the channels that it counts: a plan sets the attribute of the slim network.
During a trace it is an `AttributeSize`. If the model uses the number in any other way, or counts other
channels by it as well that need not lose equally many, the channels stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from torch import nn

from netslim.dependency.equivalence import Ints
from netslim.dependency.records import AttributeKey, TraceRecords
from netslim.nn.module_copy import is_of_torch

__all__ = ["AttributeSize", "count_attributes", "numbers_of", "settle_attributes"]

_NOT_SIZES = {"training"}


class AttributeSize(int):
    """A number in an attribute of a module, or one of several in a list there.

    Args:
        records: where its uses are recorded.
        key: the module's path, the attribute's name, and the position in its list (0 for a single number).
    """

    records: TraceRecords
    key: AttributeKey

    def __new__(cls, value: int, records: TraceRecords, key: AttributeKey) -> AttributeSize:
        self = super().__new__(cls, value)
        self.records, self.key = records, key
        return self

    def counts(self, labels: Ints) -> bool:
        """The number is the count of these channels; False if some are counted twice."""
        if np.unique(labels).size != labels.size:
            return False
        self.records.attribute_sizes[self.key].append(labels.ravel())
        return True

    def mark_unprunable(self) -> None:
        """The number itself was used, so what it counts must stay."""
        self.records.used_attributes.add(self.key)


def _recorded(method: Callable[..., Any]) -> Callable[..., Any]:
    def operation(self: AttributeSize, *others: Any) -> Any:
        for value in (self, *others):
            if isinstance(value, AttributeSize):
                value.mark_unprunable()
        return method(self, *others)

    return operation


_METHODS = "add sub mul truediv floordiv mod divmod pow lshift rshift and or xor"
for _name in (
    *(f"__{side}{name}__" for name in _METHODS.split() for side in ("", "r")),
    *("__neg__", "__pos__", "__abs__", "__invert__", "__round__", "__int__", "__float__", "__trunc__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__format__", "__bool__"),
):
    setattr(AttributeSize, _name, _recorded(getattr(int, _name)))
AttributeSize.__str__ = _recorded(int.__repr__)  # type: ignore[method-assign]
AttributeSize.__hash__ = _recorded(int.__hash__)  # type: ignore[method-assign]


def numbers_of(value: Any) -> tuple[int, ...]:
    """The numbers in an attribute: one, or those of a list or tuple of numbers; none for other values."""
    if type(value) is int:
        return (value,)
    if type(value) in (list, tuple) and value and all(type(item) is int for item in value):
        return tuple(value)
    return ()


def count_attributes(module: nn.Module, path: str, records: TraceRecords, sizes: Collection[int]) -> None:
    """Replace the attributes of a module of the model's own that hold one of these numbers."""
    if is_of_torch(module):
        return
    for name, value in list(vars(module).items()):
        numbers = numbers_of(value)
        if name not in _NOT_SIZES and any(number in sizes for number in numbers):
            counted = [AttributeSize(number, records, (path, name, at)) for at, number in enumerate(numbers)]
            vars(module)[name] = counted[0] if type(value) is int else type(value)(counted)


def settle_attributes(records: TraceRecords) -> None:
    """All channels that one number counts must lose equally many; they stay if it is used otherwise, too."""
    for key, labels in records.attribute_sizes.items():
        path, name, _ = key
        alike = all(other.size == labels[0].size for other in labels)
        if key in records.used_attributes or not alike:
            reason = f"their number, {path + '.' if path else ''}{name}, is used otherwise as well"
            for own in labels:
                records.mark_unprunable(own, reason)
            records.used_attributes.add(key)
        else:
            records.equal_counts.extend((labels[0], other) for other in labels[1:])
