"""The handwritten digits of scikit-learn: they need no download, so they are the demo's default."""

from __future__ import annotations

import numpy as np

from netslim.data.info import Split
from netslim.data.raw import Source

__all__ = ["load"]

TRAIN = 1000


def load() -> Source:
    """1,797 images of 8 x 8 pixels: 1,000 to train and 797 to test, so one test image is 0.125 %.

    There is no official split. This one is a fixed permutation, the same for every seed. The file is ordered
    by writer, so taking its last images as the test set would measure something else than most publications.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]  # pixels are 0 to 16 in the file
    order = np.random.RandomState(0).permutation(len(images))  # numpy keeps this random stream unchanged
    all_images = Split(images, bunch.target.astype(np.int64))
    return Source(
        title="digits (scikit-learn, 8 x 8)",
        classes=tuple(str(digit) for digit in range(10)),
        augment="shift1",
        splits={"train": all_images.take(order[:TRAIN]), "test": all_images.take(order[TRAIN:])},
    )
