"""Validation images, drawn from the training images with a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netslim.data.info import Split
from netslim.errors import ConfigError

__all__ = ["draw_validation"]


def draw_validation(train: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Split `train` into the remaining training images and `count` validation images.

    Stratified: each class contributes in proportion (largest remainder), so that validation errors of
    different seeds are comparable. The paper gives the number (5,000 of CIFAR-10, 6,000 of SVHN), not the
    method. Both parts keep the order of the file.

    Raises:
        ConfigError: `count` would leave no image to train on.
    """
    if not 0 < count < len(train):
        remedy = f"There are {len(train):,} training images; draw fewer"
        raise ConfigError("must leave images to train on", field="validation", value=count, remedy=remedy)
    random = np.random.RandomState(seed)  # numpy keeps this random stream unchanged, unlike default_rng's
    order = random.permutation(len(train)).astype(np.int64)
    per_class = _shares(np.bincount(train.labels), count)
    chosen = [order[train.labels[order] == label][:share] for label, share in enumerate(per_class)]
    validation = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(train), dtype=np.int64), validation, assume_unique=True)
    return train.take(rest), train.take(validation)


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """`count` divided in proportion to `sizes` by largest remainder; ties go to the earlier class."""
    exact = sizes * count
    shares = exact // sizes.sum()
    largest_remainders = np.argsort(-(exact % sizes.sum()), kind="stable")[: count - shares.sum()]
    shares[largest_remainders] += 1
    return [int(share) for share in shares]
