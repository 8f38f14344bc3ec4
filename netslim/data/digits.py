"""The handwritten digits that scikit-learn carries: always at hand, so the demo's default."""

from __future__ import annotations

import numpy as np

from netslim.data.info import Split
from netslim.data.raw import Source

__all__ = ["load"]

TRAIN = 1000


def load() -> Source:
    """1,797 images of 8 x 8 pixels; 1,000 to train, 797 to test, so that one test image is 0.125 %.

    scikit-learn knows no official split. This one is a fixed permutation, the same for every seed: the file
    is ordered by writer, and its last part alone would be a different test from most published ones.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # the file counts 0 to 16
    order = np.random.RandomState(0).permutation(len(images))  # a stream that numpy has frozen for good
    whole = Split(images, bunch.target.astype(np.int64))
    return Source(
        title="digits (scikit-learn, 8 x 8)",
        classes=tuple(str(digit) for digit in range(10)),
        augment="shift1",
        splits={"train": whole.take(order[:TRAIN]), "test": whole.take(order[TRAIN:])},
    )
