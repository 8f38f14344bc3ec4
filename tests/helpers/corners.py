"""A small training, whole in a second: a dataset of corners, a network for it, a recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from netslim.data import DatasetInfo, PackedDataset, Split, open_dataset
from netslim.data.packed import write_info, write_split
from netslim.training.recipe import Recipe

SIDE = 6


def corners(directory: Path) -> PackedDataset:
    """Bright squares in one of four corners; 60 to train, 20 to validate, 40 to test."""
    random = np.random.default_rng(0)
    splits = {}
    for name, n in {"train": 60, "val": 20, "test": 40}.items():
        labels = random.integers(0, 4, n)
        images = random.integers(0, 120, (n, SIDE, SIDE, 1), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[3 * (label // 2) :][:3, 3 * (label % 2) :][:, :3] += 60
        splits[name] = Split(images, labels)
    write_info(
        directory,
        DatasetInfo(
            name="corners",
            title="corners",
            classes=("a", "b", "c", "d"),
            image_size=(SIDE, SIDE),
            channels=1,
            mean=(0.3,),
            std=(0.2,),
            sizes={name: len(split) for name, split in splits.items()},
            augment="shift1",
            sha256={name: write_split(directory, name, split) for name, split in splits.items()},
        ),
    )
    return open_dataset(directory)


def network(seed: int = 0, *, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(8 * SIDE * SIDE, 4),
    )


def recipe(**changes) -> Recipe:
    return Recipe(**({"epochs": 3, "batch_size": 10, "threads": 1, "precision": "fp32"} | changes))


def same(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
