"""The handwritten digits of scikit-learn: they need no download, so they are the demo's default."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from netslim.data.info import Split
from netslim.data.raw import Source

__all__ = ["load"]

TRAIN = 1000
FILE = "datasets/data/digits.csv.gz"
"""In scikit-learn's folder: one line for each image, with its 64 pixels and its label."""


def load() -> Source:
    """1,797 images of 8 x 8 pixels: 1,000 to train and 797 to test, so one test image is 0.125 %.

    There is no official split. This one is a fixed permutation, the same for every seed. The file is ordered
    by writer, so taking its last images as the test set would measure something else than most publications.
    """
    rows = _rows()
    pixels = rows[:, :-1].reshape(-1, 8, 8, 1)  # 0 to 16
    images = np.rint(pixels * (255 / 16)).astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(images))  # numpy keeps this random stream unchanged
    all_images = Split(images, rows[:, -1].astype(np.int64))
    return Source(
        title="digits (scikit-learn, 8 x 8)",
        classes=tuple(str(digit) for digit in range(10)),
        augment="shift1",
        splits={"train": all_images.take(order[:TRAIN]), "test": all_images.take(order[TRAIN:])},
    )


def _rows() -> npt.NDArray[np.float64]:
    """Pixels and label of each image: float64[1797, 65].

    The file is read here where it is, because the import of scikit-learn takes more than a second.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder, FILE)
        if file.exists():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack((bunch.data, bunch.target))
