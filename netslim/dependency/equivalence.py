"""Which numbered things are the same thing: equivalence classes from a heap of pairs, all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Ints", "equivalence_classes"]

Ints = npt.NDArray[np.int64]


def equivalence_classes(size: int, pairs: Sequence[tuple[Ints, Ints]]) -> Ints:
    """Number the classes of 0 .. size - 1 under the equivalence that `pairs` generate.

    Args:
        size: how many things there are.
        pairs: arrays (a, b) of equal shape; a[i] and b[i] are the same thing.

    Returns:
        int64[size], the class of each thing, numbered from 0 in the order of the classes' first members.
    """
    least: Ints = np.arange(size, dtype=np.int64)
    if pairs:
        left = np.concatenate([np.ravel(a) for a, _ in pairs])
        right = np.concatenate([np.ravel(b) for _, b in pairs])
        while (apart := left != right).any():
            left, right = left[apart], right[apart]
            # Hook the greater root under the lesser, then flatten; the rounds are logarithmic.
            np.minimum.at(least, np.maximum(left, right), np.minimum(left, right))
            while not np.array_equal(least, nearer := least[least]):
                least = nearer
            left, right = least[left], least[right]
    roots = np.flatnonzero(least == np.arange(size))  # a root is its own least member
    number = np.empty_like(least)
    number[roots] = np.arange(roots.size)
    return number[least]
