"""Mean and standard deviation of each channel over all pixels of the training images."""

from __future__ import annotations

import math

import numpy as np

from netslim.data.images import ImageFiles
from netslim.data.info import Split
from netslim.errors import DataError

__all__ = ["channel_statistics"]

SAMPLE = 10_000
BATCH = 256 << 20  # bytes of pixels that are counted at once, at most


def channel_statistics(train: Split, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) per channel, with 255 as 1. Computed from a count of the 256 values, so they are exact.

    Of images that are streamed from files, 10,000 are sampled with `seed`.

    Raises:
        DataError: a channel has the same value in every pixel.
    """
    images = train.images
    if isinstance(images, ImageFiles) and len(images) > SAMPLE:
        chosen = np.random.RandomState(seed).choice(len(images), SAMPLE, replace=False)
        images = images.take(np.sort(chosen))
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    step = max(1, min(1000, BATCH // math.prod(images.shape[1:])))
    for first in range(0, len(images), step):
        batch = images[first : first + step]
        for channel, count in enumerate(counts):
            count += np.bincount(batch[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    pixels = counts[0].sum()
    mean = counts @ values / pixels
    std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / pixels)
    if not std.all():
        problem = f"channel {int(np.argmin(std))} is the same in every pixel of the training images"
        raise DataError(problem, field="images", remedy="Nothing can be learned from it; check the files")
    return tuple(mean.tolist()), tuple(std.tolist())
