"""Equivalence classes of numbers, from pairs of numbers that are equivalent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Ints", "equivalence_classes"]

Ints = npt.NDArray[np.int64]


def equivalence_classes(size: int, pairs: Sequence[tuple[Ints, Ints]]) -> Ints:
    """Number the classes of 0 .. size - 1 under the equivalence that `pairs` generate.

    For example, size 4 and the pair ([0, 3], [2, 0]) give [0, 1, 0, 0]: the numbers 0, 2 and 3 are one class.

    Args:
        size: how many numbers there are.
        pairs: arrays (a, b) of equal shape; a[i] and b[i] are equivalent.

    Returns:
        int64[size], the class of each number; classes are numbered from 0 in the order of their least
        members.
    """
    parent: Ints = np.arange(size, dtype=np.int64)
    if pairs:
        left = np.concatenate([np.ravel(a) for a, _ in pairs])
        right = np.concatenate([np.ravel(b) for _, b in pairs])
        while (apart := left != right).any():
            left, right = left[apart], right[apart]
            # Union-find on arrays: all greater roots get a lesser parent, then every path is shortened to
            # its root. The number of rounds grows with the logarithm of `size`.
            np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))
            while not np.array_equal(parent, shorter := parent[parent]):
                parent = shorter
            left, right = parent[left], parent[right]
    roots = np.flatnonzero(parent == np.arange(size))  # the least member of each class
    class_of_root = np.empty_like(parent)
    class_of_root[roots] = np.arange(roots.size)
    return class_of_root[parent]
