"""A dataset in memory (`Split`), and its description (`DatasetInfo`, the content of dataset.json)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from netslim.errors import DataError

if TYPE_CHECKING:
    from netslim.data.images import ImageFiles

__all__ = ["DatasetInfo", "Split"]


@dataclass(frozen=True)
class Split:
    """Images uint8[n, height, width, channels] and their labels int64[n].

    `images` is an array, or `ImageFiles` where they do not fit in memory; both give an array for a slice.
    """

    images: NDArray[np.uint8] | ImageFiles
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at `indices`, in that order."""
        images = self.images[indices] if isinstance(self.images, np.ndarray) else self.images.take(indices)
        return Split(images, self.labels[indices])


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The content of dataset.json.

    Args:
        name: the name given to `prepare`: "cifar10".
        title: the exact name, for tables: "CIFAR-10 (JPEG copy)".
        classes: the class names; label k is the k-th.
        image_size: height and width, in pixels.
        channels: 1 for grey, 3 for RGB.
        mean: per channel over all pixels of the training images, with 255 as 1.
        std: likewise; the standard deviation over pixels (not the mean of each image's own).
        sizes: number of images by split: "train", perhaps "val", "test".
        augment: the usual augmentation for this dataset (the paper's, where it has the dataset).
        sha256: of each split's file, checked whenever it is opened.
        seed: with which the validation images were drawn.
        mode: "packed" (in memory), or "folder" (streamed from image files).
        root: in folder mode the folder of the images, absolute, or relative to the dataset's own.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: dict[str, int]
    augment: str
    sha256: dict[str, str]
    seed: int = 0
    mode: str = "packed"
    root: str = ""

    def batch_of(self, pixels: int, *, least: int, most: int) -> int:
        """The number of images that have about `pixels` pixels together, from `least` to `most`."""
        return min(max(least, pixels // math.prod(self.image_size)), most)

    def to_json(self) -> dict[str, Any]:
        """The description as JSON values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DatasetInfo:
        """The info that `to_json` wrote.

        Raises:
            DataError: a field is missing or has a wrong type.
        """
        try:
            values = {field.name: value[field.name] for field in fields(cls)}
            values |= {name: tuple(values[name]) for name in ("classes", "image_size", "mean", "std")}
            info = cls(**values)
            assert len(info.mean) == len(info.std) == info.channels
            assert len(info.image_size) == 2
            assert set(info.sizes) == set(info.sha256) >= {"train", "test"}
        except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"a field is missing or wrong ({error!r})", field="dataset.json") from error
        return info
