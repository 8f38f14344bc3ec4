"""Batches of a packed dataset, ready for the network: normalised float32 images in channels-last memory.

What an epoch holds depends on the seed and the epoch's number alone, so a resumed run enters an epoch in its
middle and sees what an unbroken one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from netslim.errors import ConfigError, DataError
from netslim.training import distributed
from netslim.training.loaders.augmentation import AUGMENTATIONS, draw, maps, windows

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, Split

__all__ = ["Batch", "InMemory", "Normalise", "ordered", "whole_batches"]

Batch = tuple[Tensor, Tensor]
"""Images, float32[batch, channels, height, width] with channels-last strides, and labels, int64[batch]."""


class InMemory:
    """Shuffled, augmented training batches of a split that fits in memory (the GPU's, when on a GPU).

    Every batch is full: the images left over when the split is not a multiple of the batch size sit out one
    epoch, other ones each time. A split smaller than a batch is one batch. Of several processes
    (`netslim.training.distributed`) each gets its `part` of every batch; `batch_size` is that of all
    together.
    """

    def __init__(
        self,
        split: Split,
        info: DatasetInfo,
        *,
        batch_size: int,
        augment: str = "auto",
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        assert isinstance(split.images, np.ndarray), "image folders are streamed"
        self.count = len(split)
        self.batch_size, self.steps = whole_batches(self.count, batch_size, info)
        self.part = distributed.shard(self.batch_size)
        self.seed, self.device = seed, torch.device(device)
        name = info.augment if augment == "auto" else augment
        if name not in AUGMENTATIONS:
            remedy = f"Use one of {', '.join(AUGMENTATIONS)}"
            raise ConfigError("is for image folders only", field="augment", value=name, remedy=remedy)
        self.augmentation = AUGMENTATIONS[name]
        self.normalise = Normalise(info, self.device)
        crops = windows(split.images, self.augmentation)
        self.labels: Any = self._place(split.labels)
        self.crops: Any = crops.numpy()
        if self.device.type != "cpu":
            self.crops = self._place(crops.memory).as_strided(crops.shape, crops.strides)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from the `start`-th on."""
        drawn = draw(self.count, self.augmentation, seed=self.seed, epoch=epoch)
        choices = [self._place(choice) for choice in (drawn.image, drawn.mirrored, drawn.dy, drawn.dx)]
        for step in range(start, self.steps):
            first = step * self.batch_size
            part = slice(first + self.part.start, first + self.part.stop)
            chosen = tuple(choice[part] for choice in choices)
            images, labels = torch.as_tensor(self.crops[chosen]), self.labels[chosen[0]]
            if drawn.bent is not None:
                images = self._warp(images, drawn.bent[part])
            yield self.normalise(images), torch.as_tensor(labels)

    def _warp(self, rows: Tensor, bent: NDArray[np.float32]) -> Tensor:
        """Rows of pixels, bent: [batch, height, width * channels] as uint8 before and float32 after."""
        norm = self.normalise
        height, width, channels = norm.height, norm.width, norm.channels
        assert self.augmentation.warp is not None
        theta = torch.from_numpy(maps(bent, self.augmentation.warp, (height, width))).to(self.device)
        images = rows.view(-1, height, width, channels).permute(0, 3, 1, 2).float()
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        warped = F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
        return warped.permute(0, 2, 3, 1).reshape(-1, height, width * channels)

    def _place(self, array: NDArray[Any]) -> Any:
        """`array` where the gather happens: numpy's is the faster one on a CPU, torch's works on a GPU."""
        return array if self.device.type == "cpu" else torch.from_numpy(array).to(self.device)


def whole_batches(count: int, batch_size: int, info: DatasetInfo) -> tuple[int, int]:
    """The size of a batch and the number of them in an epoch over `count` images.

    Raises:
        DataError: there are too few images to train on.
    """
    if count < 2:
        remedy = "BatchNorm needs two images in a batch; prepare the dataset with more"
        raise DataError(f"{count} training images are too few", field=info.name, remedy=remedy)
    size = min(batch_size, count)
    return size, count // size


class Normalise:
    """Rows of 0 to 255, [batch, height, width * channels], to float32[batch, channels, height, width].

    The result lies channels last in memory; rows that are float32 already are overwritten.
    """

    def __init__(self, info: DatasetInfo, device: torch.device | str = "cpu") -> None:
        self.height, self.width = info.image_size
        self.channels = info.channels
        mean, std = torch.tensor(info.mean), torch.tensor(info.std)
        # Tiled over a whole image, so that the inner loop is long: three channels alone are not vectorised.
        tiled = (self.height, self.width)
        self.scale = (1 / (255 * std)).repeat(tiled).to(device)
        self.shift = (-mean / std).repeat(tiled).to(device)

    def __call__(self, rows: Tensor) -> Tensor:
        images = rows.float().mul_(self.scale).add_(self.shift)
        return images.view(-1, self.height, self.width, self.channels).permute(0, 3, 1, 2)


def ordered(
    split: Split, info: DatasetInfo, *, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Every image once, in the split's order and without augmentation; the last batch may be short.

    Of several processes each gets every n-th batch.
    """
    normalise = Normalise(info, device)
    for first in range(distributed.rank() * batch_size, len(split), distributed.size() * batch_size):
        images = torch.from_numpy(split.images[first : first + batch_size]).to(device)
        labels = torch.from_numpy(split.labels[first : first + batch_size]).to(device)
        yield normalise(images.flatten(2)), labels
