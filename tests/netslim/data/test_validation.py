"""Validation images are a fair, exact, repeatable draw."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslim.data.info import Split
from netslim.data.validation import draw_validation
from netslim.errors import ConfigError


def numbered(labels: list[int]) -> Split:
    """Each image holds its own number."""
    numbers = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(len(labels), 2, 2, 1)
    return Split(numbers, np.array(labels, dtype=np.int64))


def numbers(split: Split) -> list[int]:
    return np.ascontiguousarray(split.images).reshape(len(split), 4).view(np.uint32).ravel().tolist()  # type: ignore[no-any-return]


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.data())
def test_a_draw_is_exact_disjoint_ordered_and_in_proportion(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels) - 1))
    train, validation = draw_validation(numbered(labels), count, data.draw(st.integers(0, 2**32 - 1)))
    assert len(validation) == count
    assert sorted(numbers(train) + numbers(validation)) == list(range(len(labels)))
    for part in (train, validation):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [labels[k] for k in numbers(part)]
    for label in set(labels):
        fair = Fraction(labels.count(label) * count, len(labels))
        assert abs(validation.labels.tolist().count(label) - fair) < 1


def test_the_papers_draw_from_cifar10_is_500_of_each_class() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5000)).tolist()
    train, validation = draw_validation(numbered(labels), 5000, 0)
    assert np.bincount(validation.labels).tolist() == [500] * 10
    assert np.bincount(train.labels).tolist() == [4500] * 10


def test_the_seed_decides() -> None:
    labels = [k % 3 for k in range(300)]
    draws = [numbers(draw_validation(numbered(labels), 60, seed)[1]) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("count", [10, 11])
def test_something_must_be_left_to_train_on(count: int) -> None:
    with pytest.raises(ConfigError, match=f"validation = {count}: .*There are 10 training images"):
        draw_validation(numbered([0] * 10), count, 0)
