"""Channel counts: products and quotients are followed, every other use marks the channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from netslim.dependency.equivalence import equivalence_classes
from netslim.dependency.records import TraceRecords
from netslim.dependency.rules import RULES
from netslim.dependency.settle import settle
from netslim.dependency.symbolic_size import ChannelCount, plain


def counted(size: int = 8) -> tuple[TraceRecords, ChannelCount]:
    records = TraceRecords({}, {}, RULES)
    return records, ChannelCount(records, records.new_labels(size))


@pytest.mark.parametrize(
    ("compute", "value", "ratio"),
    [
        (lambda c: c * 3, 24, Fraction(3)),
        (lambda c: 3 * c, 24, Fraction(3)),
        (lambda c: c // 2, 4, Fraction(1, 2)),
        (lambda c: c * 3 // 2, 12, Fraction(3, 2)),
    ],
)
def test_products_and_exact_quotients_are_followed(
    compute: Callable[[ChannelCount], ChannelCount], value: int, ratio: Fraction
) -> None:
    records, count = counted()
    result = compute(count)
    assert type(result) is ChannelCount
    assert (plain(result), result.ratio) == (value, ratio)
    assert not records.unprunable


USES: dict[str, Callable[[int], object]] = {
    "add": lambda c: c + 1,
    "add to": lambda c: 1 + c,
    "subtract": lambda c: c - 1,
    "subtract from": lambda c: 10 - c,
    "inexact quotient": lambda c: c // 3,
    "quotient of it": lambda c: 100 // c,
    "true quotient": lambda c: c / 8,
    "remainder": lambda c: c % 3,
    "divmod": lambda c: divmod(c, 3),
    "power": lambda c: c**2,
    "product with a float": lambda c: c * 0.5,
    "shift": lambda c: c >> 1,
    "mask": lambda c: c & 6,
    "negative": lambda c: -c,
    "square root": lambda c: math.sqrt(c),
    "equal": lambda c: c == 8,
    "not equal": lambda c: c != 7,
    "number": lambda c: int(c),
    "text": lambda c: f"{c}",
    "numpy": lambda c: np.sqrt(c),
    "less": lambda c: c < 3,
    "at least": lambda c: c >= 3,
    "less than its half": lambda c: c < 4,
}


@pytest.mark.parametrize("name", USES)
def test_every_other_use_gives_a_plain_number_and_marks_the_channels(name: str) -> None:
    records, count = counted()
    result = USES[name](count)
    assert result == USES[name](8)
    assert type(result) is not ChannelCount
    assert records.unprunable[0].labels.tolist() == list(range(8))
    assert records.unprunable[0].reason.startswith("their number is used in test_symbolic_size.py:")


FOLLOWED: dict[str, tuple[Callable[[int], object], object]] = {
    "plus nothing": (lambda c: c + 0, 8),
    "minus nothing": (lambda c: c - 0, 8),
    "more than none": (lambda c: c > 0, True),
    "not none": (lambda c: c != 0, True),
    "at most more": (lambda c: c <= 64, True),
    "equal to more": (lambda c: c == 64, False),
    "unlike a text": (lambda c: c == "8", False),
    "no remainder": (lambda c: c % 2, 0),
    "truth": (lambda c: bool(c), True),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_an_answer_that_no_removal_changes_marks_nothing(name: str) -> None:
    compute, answer = FOLLOWED[name]
    records, count = counted()
    result = compute(count)
    assert not records.unprunable
    assert result == answer
    assert len(records.equal_blocks) == (name == "no remainder")


def test_sums_and_differences_of_counts_count_both_and_the_rest() -> None:
    records, count = counted()
    other = ChannelCount(records, records.new_labels(4))
    both = count + other
    assert (plain(both), both.labels.tolist()) == (12, list(range(12)))
    assert (both - count).labels.tolist() == other.labels.tolist()
    assert (both - other).labels.tolist() == count.labels.tolist()
    assert not records.unprunable


def test_equal_counts_are_tied_after_the_trace() -> None:
    records, count = counted()
    other = ChannelCount(records, records.new_labels(8))
    assert count == other
    assert not records.tied
    settle(records)
    assert equivalence_classes(records.label_count, records.tied).tolist() == [*range(8)] * 2
    assert not records.unprunable


def test_it_is_proportional_to_its_own_labels_in_any_order_and_equal_repetition() -> None:
    _, count = counted()
    assert count.is_proportional_to(np.arange(8)[::-1])
    assert count.is_proportional_to(np.repeat(np.arange(8), 3))
    assert not count.is_proportional_to(np.arange(7))
    assert not count.is_proportional_to(np.append(np.arange(8), 0))


def test_a_dictionary_can_be_read_by_it() -> None:
    assert {8: "eight"}[counted()[1]] == "eight"
