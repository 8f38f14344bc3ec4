"""The digits are those that scikit-learn returns, with and without its import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from netslim.data import digits


@pytest.mark.parametrize("file", [digits.FILE, "moved.csv.gz"])
def test_all_images_are_there_once_with_their_labels(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits  # here, because it takes seconds

    monkeypatch.setattr(digits, "FILE", file)
    splits = digits.load().splits
    assert {name: len(split.labels) for name, split in splits.items()} == {"train": 1000, "test": 797}
    images = np.concatenate([split.images for split in splits.values()])[..., 0]
    labels = np.concatenate([split.labels for split in splits.values()])
    theirs = load_digits()
    expected = sorted((bytes((image * 255 / 16).round().astype(np.uint8)), int(label))
                      for image, label in zip(theirs.images, theirs.target, strict=True))  # fmt: skip
    assert sorted((bytes(image), int(label)) for image, label in zip(images, labels, strict=True)) == expected


def test_the_import_of_scikit_learn_is_not_needed() -> None:
    code = "import sys; from netslim.data import digits; digits.load(); print('sklearn' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"
