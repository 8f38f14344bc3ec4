"""Training batches of images that do not fit in memory: workers decode and crop them ahead of time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from netslim.data.images import ImageFiles
from netslim.errors import ConfigError, NetslimError
from netslim.training import distributed
from netslim.training.loaders.in_memory import Batch, Normalise, whole_batches

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, Split

__all__ = ["Streamed"]

WORKERS = 16

_Key = tuple[int, int]
"""Epoch and image."""


class Streamed:
    """Training batches of image files; a `TrainingLoader`, with full batches as in `InMemory`.

    Every crop is drawn from the seed, the epoch and the image, so the batches do not depend on the number
    or the speed of the workers. For a GPU, one worker process per CPU core decodes (16 at most). Training on
    a CPU is so much slower than decoding that this process decodes the images itself.

    Args:
        split: the training images, an `ImageFiles`.
        info: their size and statistics.
        batch_size: images per batch, over all processes.
        augment: `imagenet` for random crops of any size, or `none` for the crop of evaluation.
        seed: of the order and the crops.
        device: where the batches are needed.

    Raises:
        ConfigError: image files cannot be augmented so.
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
    ) -> None:
        if augment not in ("imagenet", "none"):
            remedy = "Use imagenet or none for an image folder"
            raise ConfigError("is for packed images", field="augment", value=augment, remedy=remedy)
        self.count = len(split)
        self.batch_size, self.steps = whole_batches(self.count, batch_size, info)
        self.shard = distributed.shard(self.batch_size)
        self.seed, self.device = seed, torch.device(device)
        self.normalise = Normalise(info, self.device)
        self._keys: list[list[_Key]] = []
        cores = max(1, (os.cpu_count() or 1) // distributed.size())
        workers = min(WORKERS, cores) if self.device.type == "cuda" else 0
        self._loader = DataLoader(
            _Views(split, seed, cropped=augment == "imagenet"),
            batch_sampler=self._keys,  # filled for each epoch, while the workers go on
            collate_fn=_batch,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from batch number `start` on.

        Raises:
            DataError: an image cannot be decoded.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(self.count).tolist()
        firsts = [step * self.batch_size for step in range(start, self.steps)]
        self._keys[:] = [
            [(epoch, image) for image in order[first + self.shard.start : first + self.shard.stop]]
            for first in firsts
        ]
        for batch in self._loader:
            if isinstance(batch, dict):
                raise NetslimError.from_json(batch)
            images, labels = batch
            rows = images.to(self.device, non_blocking=True).flatten(2)
            yield self.normalise(rows), labels.to(self.device, non_blocking=True)


class _Views(Dataset[tuple[Tensor, int] | NetslimError]):
    """One view of one image, uint8[height, width, channels], and its label; or why it cannot be read.

    The error is returned, because torch adds a worker's traceback to the message of one that is raised.
    """

    def __init__(self, split: Split, seed: int, *, cropped: bool) -> None:
        self.images, self.labels, self.seed, self.cropped = split.images, split.labels, seed, cropped

    def __getitem__(self, key: _Key) -> tuple[Tensor, int] | NetslimError:
        epoch, image = key
        assert isinstance(self.images, ImageFiles)
        try:
            if self.cropped:
                view = self.images.random_crop(image, np.random.default_rng([self.seed, epoch, image]))
            else:
                view = self.images[image : image + 1][0]
        except NetslimError as error:
            return error
        return torch.from_numpy(np.array(view)), int(self.labels[image])


def _batch(views: list[tuple[Tensor, int] | NetslimError]) -> Any:
    """Images and labels as two tensors; or the first error as JSON data, for another process."""
    errors = [view.to_json() for view in views if isinstance(view, NetslimError)]
    return errors[0] if errors else default_collate(views)
