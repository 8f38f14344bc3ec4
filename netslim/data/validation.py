"""Validation images, drawn from the training images with a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from netslim.data.info import Split
from netslim.errors import ConfigError

__all__ = ["draw_validation"]


def draw_validation(train: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Split `train` into what is left to train on, and `count` validation images.

    Stratified: each class gives its share, by largest remainder, so that validation errors of different
    seeds compare. The paper says how many it draws (5,000 of CIFAR-10, 6,000 of SVHN), not how. Both parts
    keep the order of the file.

    Raises:
        ConfigError: `count` would leave nothing to train on.
    """
    if not 0 < count < len(train):
        remedy = f"There are {len(train):,} training images; draw fewer"
        raise ConfigError("must leave images to train on", field="validation", value=count, remedy=remedy)
    random = np.random.RandomState(seed)  # unlike default_rng, a stream that numpy has frozen for good
    order = random.permutation(len(train)).astype(np.int64)
    per_class = _shares(np.bincount(train.labels), count)
    chosen = [order[train.labels[order] == label][:share] for label, share in enumerate(per_class)]
    validation = np.sort(np.concatenate(chosen))
    rest = np.setdiff1d(np.arange(len(train), dtype=np.int64), validation, assume_unique=True)
    return train.take(rest), train.take(validation)


def _shares(sizes: NDArray[np.int64], count: int) -> list[int]:
    """`count` shared out in proportion to `sizes`, exactly; ties of the remainder go to the earlier class."""
    exact = sizes * count
    shares = exact // sizes.sum()
    late = np.argsort(-(exact % sizes.sum()), kind="stable")[: count - shares.sum()]
    shares[late] += 1
    return [int(share) for share in shares]
