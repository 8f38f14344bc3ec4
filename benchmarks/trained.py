"""Networks trained with sparsity on real data, for the benchmarks that prune them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netslim import data, models
from netslim.data import PackedDataset
from netslim.training import presets
from netslim.training.loaders import loader_for
from netslim.training.train import train

__all__ = ["CIFAR", "Case", "prepare", "sparse_network", "training_images"]

CIFAR = "cifar10_jpeg"


@dataclass(frozen=True)
class Case:
    """A network, a dataset and a recipe for sparse training."""

    title: str
    dataset: str
    model: str
    preset: str
    recipe: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


def prepare(case: Case, root: Path, work: Path, part: float = 1.0) -> PackedDataset:
    """The packed dataset of a case, made on first use.

    Args:
        part: share of the images of CIFAR-10, training and test; the first by name of each class.
    """
    packed = work / case.dataset
    if not packed.exists():
        if case.dataset == "digits":
            data.prepare("digits", packed)
        elif case.dataset == "mnist":
            raw = work / "originals" / "MNIST" / "raw"  # where torchvision expects the four files
            shutil.copytree(root / "mnist", raw, dirs_exist_ok=True)
            data.prepare("mnist", packed, root=work / "originals")
        else:
            images = root / case.dataset if part == 1 else _share(root / case.dataset, part, work / "images")
            data.prepare("folder", packed, root=images, title="CIFAR-10 (JPEG copy)")
    return data.open_dataset(packed)


def _share(images: Path, part: float, target: Path) -> Path:
    """A copy of the first images of each class, in the same layout."""
    for folder in images.glob("*/*"):
        shared = target / folder.relative_to(images)
        shared.mkdir(parents=True)
        files = sorted(folder.iterdir())
        for file in files[: round(part * len(files))]:
            shutil.copy(file, shared)
    return target


def sparse_network(case: Case, penalty: str, dataset: PackedDataset, work: Path) -> nn.Module:
    """A network trained with sparsity; a finished training in `work` is loaded instead."""
    info = dataset.info
    architecture = models.resolve(
        case.model,
        num_classes=len(info.classes),
        in_channels=info.channels,
        image_size=info.image_size,
        **case.arguments,
    )
    torch.manual_seed(0)
    model = models.build(architecture)
    recipe = presets.stage(case.preset, "sparse", case.recipe | {"penalty": penalty, "threads": 1})
    train(model, dataset, recipe, seed=0, checkpoint_dir=work / f"{case.model}-{penalty}", title=case.title)
    return model.eval()


def training_images(dataset: PackedDataset) -> Iterator[Tensor]:
    """2,000 training images in batches, augmented as in training; the pipeline recalibrates on the same."""
    batches = loader_for(dataset, batch_size=250, seed=0).epoch(0)
    return (images for images, _ in islice(batches, 8))
