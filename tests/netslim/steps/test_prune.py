"""The step prune: the images for recalibration, and the records of a pruned network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netslim.data import Split
from netslim.steps import prune
from tests.helpers.infos import info


@pytest.mark.parametrize("count", [300, 2000, 5001])
def test_recalibration_uses_every_class_of_a_sorted_split(count: int) -> None:
    """An image folder is in the order of its classes."""
    labels = np.sort(np.arange(count) % 10)
    images = np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 1)).astype(np.uint8)
    packed: Any = SimpleNamespace(split=lambda part: Split(images, labels), info=info())
    seen = np.concatenate([batch.numpy()[:, 0, 0, 0] * 255 for batch in prune._training_images(packed)])
    assert len(seen) == min(count // 250 * 250, prune.RECALIBRATE_ON)
    shares = np.bincount(seen.round().astype(int), minlength=10) / len(seen)
    np.testing.assert_allclose(shares, 0.1, atol=0.03)


def test_recalibration_takes_fewer_large_images_at_once() -> None:
    """250 images of 224 x 224 need gigabytes for each layer of a ResNet."""
    split = Split(np.zeros((100, 224, 224, 1), np.uint8), np.zeros(100, np.int64))
    packed: Any = SimpleNamespace(split=lambda part: split, info=info((224, 224)))
    assert [len(batch) for batch in prune._training_images(packed)] == [41, 41]
