"""Training batches: the loader for a dataset, and what every loader offers. No torch until one is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from netslim.data import DatasetInfo, Split
    from netslim.training.loaders.in_memory import Batch

__all__ = ["TrainingData", "TrainingLoader", "loader_for"]


class TrainingData(Protocol):
    """A dataset that a loader can read, such as `netslim.data.PackedDataset`."""

    @property
    def info(self) -> DatasetInfo: ...

    def split(self, name: str) -> Split: ...


class TrainingLoader(Protocol):
    """Shuffled, augmented batches of the training split, epoch by epoch.

    An epoch is a function of the seed and its number alone. A resumed run therefore enters an epoch in its
    middle and gives the batches that an unbroken run would have given.
    """

    batch_size: int
    """Images per batch, over all processes. Smaller than asked for if the split is smaller."""
    steps: int
    """Batches per epoch."""
    shard: slice
    """The part of every batch that this process gets; see `netslim.training.distributed.shard`."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch (counted from 0), from batch number `start` on."""


def loader_for(
    dataset: TrainingData,
    *,
    batch_size: int,
    augment: str = "auto",
    seed: int,
    device: torch.device | str = "cpu",
    by_torch: bool | None = None,
) -> TrainingLoader:
    """The loader of a dataset's training split: in memory, or streamed from image files.

    Args:
        batch_size: images per optimizer step, over all processes.
        augment: `auto` for the augmentation that the dataset suggests, else the name of one.
        seed: of the order and the augmentation.
        device: where the batches are needed.
        by_torch: see `InMemory`.

    Raises:
        ConfigError: the augmentation does not exist for this kind of dataset.
        DataError: the split is missing, damaged, or has fewer than two images.
    """
    info, split = dataset.info, dataset.split("train")
    name = info.augment if augment == "auto" else augment
    if info.mode == "folder":
        from netslim.training.loaders.streaming import Streamed

        return Streamed(split, info, batch_size=batch_size, augment=name, seed=seed, device=device)
    from netslim.training.loaders.in_memory import InMemory

    return InMemory(
        split, info, batch_size=batch_size, augment=name, seed=seed, device=device, by_torch=by_torch
    )
