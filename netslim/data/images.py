"""Image files as arrays: cropped to one size, one by one or in batches. No torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from netslim.data.image_file import decode

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFiles", "as_array", "centre", "in_threads", "random_crop"]

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16  # items per task of a thread: for small images, one item costs less than starting a task

MARGIN = 256 / 224  # shorter side : crop, as usual in the evaluation of ImageNet


@dataclass(frozen=True)
class ImageFiles:
    """RGB images on disk, with the interface of an array uint8[n, size, size, 3]; a slice decodes its images.

    Indexing returns the images as for evaluation: the shorter side resized to 256/224 of `size`, then the
    centre cropped.
    """

    root: Path
    paths: tuple[str, ...]
    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: slice) -> NDArray[np.uint8]:
        paths = self.paths[chosen]
        if not paths:
            return np.empty((0, *self.shape[1:]), np.uint8)
        return np.stack(in_threads(self._evaluation_view, paths))

    def take(self, indices: NDArray[np.int64]) -> ImageFiles:
        """The images at `indices`, in that order; nothing is decoded."""
        return ImageFiles(self.root, tuple(self.paths[i] for i in indices), self.size)

    def random_crop(self, index: int, random: np.random.Generator) -> NDArray[np.uint8]:
        """An image as for training: a random crop, see `random_crop`."""
        return random_crop(decode(self.root / self.paths[index]), self.size, random)

    def _evaluation_view(self, path: str) -> NDArray[np.uint8]:
        return centre(decode(self.root / path), self.size)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in order, in threads: Pillow decodes without the interpreter's lock."""
    parts = [items[first : first + CHUNK] for first in range(0, len(items), CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda part: [function(item) for item in part], parts)
        return [result for part in results for result in part]


def centre(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """uint8[size, size, channels] from the image's middle; an image of that size is not changed.

    The shorter side is resized to 256/224 of `size`, then the centre is cropped. Only the pixels of the crop
    are computed: a resized image of 1 x 60,000 pixels would take gigabytes.
    """
    from PIL.Image import Resampling

    if image.size == (size, size):
        return as_array(image)
    scale = size * MARGIN / min(image.size)
    resized = [max(size, round(side * scale)) for side in image.size]
    # The crop's edges are whole pixels of the resized image; `box` has them in pixels of the image.
    starts = [(side - size) // 2 for side in resized]
    left, top = (start * own / side for start, own, side in zip(starts, image.size, resized, strict=True))
    right, bottom = (
        min(own, (start + size) * own / side)
        for start, own, side in zip(starts, image.size, resized, strict=True)
    )
    return as_array(image.resize((size, size), Resampling.BILINEAR, box=(left, top, right, bottom)))


def random_crop(image: Image.Image, size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """uint8[size, size, channels] from a random crop, as in the training of Inception and ResNet.

    The crop has 8 to 100 % of the image's area and an aspect of 3/4 to 4/3; half of them are mirrored.
    """
    from PIL.Image import Resampling

    width, height = image.size
    left, top, right, bottom = 0, 0, width, height
    for _ in range(10):  # as in torchvision: after ten misfits the whole image is used
        area = width * height * random.uniform(0.08, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            right, bottom = left + w, top + h
            break
    crop = image.resize((size, size), Resampling.BILINEAR, box=(left, top, right, bottom))
    array = as_array(crop)
    return array[:, ::-1] if random.random() < 0.5 else array


def as_array(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels, uint8[height, width, channels]."""
    array: NDArray[Any] = np.asarray(image, dtype=np.uint8)
    return array[..., None] if array.ndim == 2 else array
