"""Equivalence classes against scipy's connected components, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from netslim.dependency.equivalence import equivalence_classes


def test_by_hand() -> None:
    pairs = [(np.array([0, 3]), np.array([2, 0]))]
    assert equivalence_classes(4, pairs).tolist() == [0, 1, 0, 0]
    assert equivalence_classes(3, []).tolist() == [0, 1, 2]
    assert equivalence_classes(0, []).tolist() == []


@pytest.mark.parametrize("seed", range(8))
def test_the_same_classes_as_connected_components(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, edges = 60, random.integers(0, 60, (2, 10 * seed))
    number, truth = connected_components(coo_array((np.ones(edges.shape[1]), edges), (size, size)))
    classes = equivalence_classes(size, [(part[0], part[1]) for part in np.split(edges, 5, axis=1)])
    assert np.unique(classes).size == number
    assert np.array_equal(classes[:, None] == classes, truth[:, None] == truth)
    firsts = np.unique(classes, return_index=True)[1]
    assert (np.diff(firsts) > 0).all()  # numbered in the order of their least members
