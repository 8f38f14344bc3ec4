"""Batches of a dataset in memory, ready for the network: normalised float32 images, channels last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from netslim.data.normalisation import scale_and_offset
from netslim.errors import ConfigError, DataError
from netslim.training import distributed
from netslim.training.loaders.augmentation import (
    AUGMENTATIONS,
    Warp,
    affine_matrices,
    crop_windows,
    draw_crops,
    padded_rows,
)

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, Split

__all__ = ["Batch", "InMemory", "Normalise", "Selection", "ordered", "whole_batches"]

Batch = tuple[Tensor, Tensor]
"""Images, float32[batch, channels, height, width] with channels-last strides, and labels, int64[batch]."""


@dataclass(frozen=True)
class Selection:
    """Which images a batch has, and how they are cropped and distorted, as tensors on the images' device."""

    crops: Tensor
    """int64[4, batch]: image, mirrored, top and left as in `CropBatch`."""
    matrices: Tensor | None
    """float32[batch, 2, 3] of `affine_matrices`; None without a warp."""

    @property
    def tensors(self) -> list[Tensor]:
        return [self.crops] if self.matrices is None else [self.crops, self.matrices]

    def clone(self) -> Selection:
        """A copy in memory of its own."""
        return Selection(self.crops.clone(), None if self.matrices is None else self.matrices.clone())

    def fits(self, other: Selection) -> bool:
        """Whether all shapes are those of `other`."""
        return [t.shape for t in self.tensors] == [t.shape for t in other.tensors]

    def copy_(self, other: Selection) -> None:
        """Overwrite the tensors with those of `other`, which must fit."""
        for own, new in zip(self.tensors, other.tensors, strict=True):
            own.copy_(new)


class InMemory:
    """Training batches of a split that fits in memory (the GPU's, when on a GPU); a `TrainingLoader`.

    Every batch is full: if the split is not a multiple of the batch size, the images left over are not seen
    in that epoch, other ones each time. A split smaller than a batch is one batch. With several processes
    (`netslim.training.distributed`) each gets its shard of every batch.

    Args:
        split: the training images.
        info: their size and statistics.
        batch_size: images per batch, over all processes.
        augment: a name in `AUGMENTATIONS`.
        seed: of the order and the crops.
        device: where the images are kept and the batches are made.
        by_torch: whether torch makes the batches, from selections; by default not on a CPU, where numpy is
            faster.

    Raises:
        ConfigError: packed images cannot be augmented so.
        DataError: there are too few images to train on.
    """

    def __init__(
        self,
        split: Split,
        info: DatasetInfo,
        *,
        batch_size: int,
        augment: str,
        seed: int,
        device: torch.device | str = "cpu",
        by_torch: bool | None = None,
    ) -> None:
        assert isinstance(split.images, np.ndarray), "image folders are streamed"
        if augment not in AUGMENTATIONS:
            remedy = f"Use one of {', '.join(AUGMENTATIONS)}"
            raise ConfigError("is for image folders only", field="augment", value=augment, remedy=remedy)
        self.count = len(split)
        self.batch_size, self.steps = whole_batches(self.count, batch_size, info)
        self.shard = distributed.shard(self.batch_size)
        self.seed, self.device = seed, torch.device(device)
        self.augmentation = AUGMENTATIONS[augment]
        self.normalise = Normalise(info, self.device)
        height, width = info.image_size
        rows = padded_rows(split.images, self.augmentation)
        self.by_torch = self.device.type != "cpu" if by_torch is None else by_torch
        self.labels: Any
        self.windows: Any
        if not self.by_torch:
            self.labels = split.labels
            self.windows = crop_windows(rows, height, width, info.channels)
        else:  # the same windows as a tensor
            self.labels = torch.from_numpy(split.labels).to(self.device)
            tensor = torch.from_numpy(rows).to(self.device)
            self.windows = tensor.unfold(2, height, 1).unfold(3, width * info.channels, info.channels)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from batch number `start` on."""
        if self.by_torch:
            yield from map(self.batch, self.selections(epoch, start))
            return
        crops = draw_crops(self.count, self.augmentation, seed=self.seed, epoch=epoch)
        for step in range(start, self.steps):
            batch = crops[self._images_of(step)]
            rows = torch.from_numpy(batch.of(self.windows))
            labels = torch.from_numpy(self.labels[batch.image])
            if self.augmentation.warp is not None:
                assert batch.warp is not None
                rows = self._warped(rows, self._matrices(batch.warp, self.augmentation.warp))
            yield self.normalise(rows), labels

    def selections(self, epoch: int, start: int = 0) -> Iterator[Selection]:
        """What `batch` makes the batches of one epoch from; the epoch's choices go to the device at once."""
        assert self.by_torch
        drawn = draw_crops(self.count, self.augmentation, seed=self.seed, epoch=epoch)
        indices = np.stack([drawn.image, drawn.mirrored, drawn.top, drawn.left])
        crops, matrices = torch.from_numpy(indices).to(self.device), None
        if self.augmentation.warp is not None:
            assert drawn.warp is not None
            matrices = self._matrices(drawn.warp, self.augmentation.warp)
        for step in range(start, self.steps):
            part = self._images_of(step)
            yield Selection(crops[:, part], None if matrices is None else matrices[part])

    def batch(self, selection: Selection) -> Batch:
        """Make a batch on the device. All shapes follow from the selection's, and the host does not wait."""
        image, mirrored, top, left = selection.crops
        rows = self.windows[image, mirrored, top, left]
        if selection.matrices is not None:
            rows = self._warped(rows, selection.matrices)
        return self.normalise(rows), self.labels[image]

    def _images_of(self, step: int) -> slice:
        """This process's part of the epoch's choices for one step."""
        first = step * self.batch_size
        return slice(first + self.shard.start, first + self.shard.stop)

    def _matrices(self, warps: NDArray[np.float32], limits: Warp) -> Tensor:
        height, width, _ = self.normalise.shape
        return torch.from_numpy(affine_matrices(warps, limits, (height, width))).to(self.device)

    def _warped(self, rows: Tensor, matrices: Tensor) -> Tensor:
        """Rows of pixels, distorted: [batch, height, width * channels], uint8 before and float32 after."""
        height, width, channels = self.normalise.shape
        images = rows.view(-1, height, width, channels).permute(0, 3, 1, 2).float()
        grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
        warped = F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
        return warped.permute(0, 2, 3, 1).reshape(-1, height, width * channels)


def whole_batches(count: int, batch_size: int, info: DatasetInfo) -> tuple[int, int]:
    """The size of a batch and the number of batches in an epoch over `count` images.

    Raises:
        DataError: there are too few images to train on.
    """
    if count < 2:
        remedy = "BatchNorm needs two images in a batch; prepare the dataset with more"
        raise DataError(f"{count} training images are too few", field=info.name, remedy=remedy)
    size = min(batch_size, count)
    return size, count // size


class Normalise:
    """Rows of bytes, [batch, height, width * channels], to float32[batch, channels, height, width].

    Computes (pixel / 255 - mean) / std as pixel * scale + shift. The result lies channels last in memory;
    rows that are float32 already are overwritten.
    """

    def __init__(self, info: DatasetInfo, device: torch.device | str = "cpu") -> None:
        height, width = info.image_size
        self.shape = (height, width, info.channels)
        scale, offset = (torch.from_numpy(vector) for vector in scale_and_offset(info))
        # Tiled over a whole image, so that the inner loop is long: three channels alone are not vectorised.
        self.scale = scale.repeat(height, width).to(device)
        self.shift = (-offset).repeat(height, width).to(device)

    def __call__(self, rows: Tensor) -> Tensor:
        images = rows.float().mul_(self.scale).add_(self.shift)
        return images.view(-1, *self.shape).permute(0, 3, 1, 2)


def ordered(
    split: Split, info: DatasetInfo, *, batch_size: int, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Every image once, in the split's order and without augmentation; the last batch may be short.

    With several processes, process r of n gets the batches r, r + n, r + 2n, ...
    """
    normalise = Normalise(info, device)
    for first in range(distributed.rank() * batch_size, len(split), distributed.size() * batch_size):
        images = torch.from_numpy(split.images[first : first + batch_size]).to(device)
        labels = torch.from_numpy(split.labels[first : first + batch_size]).to(device)
        yield normalise(images.flatten(2)), labels
