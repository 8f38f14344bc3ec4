"""Partitions are those of dictionaries of tuples."""

from __future__ import annotations

import numpy as np
import pytest

from netslim.pruning.partition import Partition, numbered_columns, run_starts


def first_places(keys: list[object]) -> list[int]:
    """For each key, where an equal one is for the first time: the same division for any numbering."""
    return [keys.index(key) for key in keys]


@pytest.mark.parametrize("seed", range(20))
def test_a_split_keeps_together_what_has_the_same_part_and_mark(seed: int) -> None:
    random = np.random.default_rng(seed)
    partition = Partition(random.integers(0, 3, 40))
    keys: list[object] = [(int(part),) for part in partition.part]
    for step in range(4):
        members = random.permutation(40)[: random.integers(1, 40)]
        marks = random.integers(0, 4, members.size)
        partition.split(members, marks)
        for member, mark in zip(members.tolist(), marks.tolist(), strict=True):
            keys[member] = (keys[member], step, mark)
        assert first_places(partition.part.tolist()) == first_places(keys)
    assert partition.next > partition.part.max()


def test_an_empty_split_changes_nothing() -> None:
    partition = Partition(np.array([0, 1, 1]))
    partition.split(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    assert partition.part.tolist() == [0, 1, 1]


@pytest.mark.parametrize("greatest", [1, 50, 10**6, 2**31])
@pytest.mark.parametrize("rows", [1, 2, 3, 30])
def test_equal_columns_have_the_same_number(rows: int, greatest: int) -> None:
    """Also where the numbers of a column do not fit into one key."""
    random = np.random.default_rng(rows)
    different = random.integers(0, greatest, (rows, 9)) + np.arange(9) % 2
    different[-1, 8] = greatest
    columns = different[:, random.integers(0, 9, 60)]
    numbers = numbered_columns(columns)
    assert first_places(numbers.tolist()) == first_places([tuple(column) for column in columns.T.tolist()])
    assert set(numbers.tolist()) == set(range(numbers.max() + 1))


def test_one_column_has_the_number_0() -> None:
    assert numbered_columns(np.array([[7], [9]])).tolist() == [0]


def test_runs_of_equal_values() -> None:
    assert run_starts(np.array([4, 4, 1, 4, 4, 4])).tolist() == [0, 2, 3]
    assert run_starts(np.array([], dtype=np.int64)).tolist() == []
