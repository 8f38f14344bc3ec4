"""The loader of a dataset: in memory or streamed, with the augmentation that was asked for or suggested."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netslim.data import DatasetInfo, ImageFiles, Split
from netslim.errors import ConfigError
from netslim.training.loaders import TrainingLoader, loader_for
from netslim.training.loaders.in_memory import InMemory
from netslim.training.loaders.streaming import Streamed
from tests.helpers import infos


@dataclass(frozen=True)
class Data:
    """The part of `PackedDataset` that a loader reads."""

    info: DatasetInfo
    images: np.ndarray | ImageFiles

    def split(self, name: str) -> Split:
        assert name == "train"
        return Split(self.images, np.arange(len(self.images)) % 2)


@pytest.fixture
def packed() -> Data:
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
    return Data(infos.info((4, 4), augment="shift1"), images)


@pytest.fixture
def folder(tmp_path: Path) -> Data:
    names = tuple(f"{number}.png" for number in range(4))
    random = np.random.default_rng(0)
    for name in names:
        Image.fromarray(random.integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(tmp_path / name)
    info = infos.info((4, 4), 3, augment="imagenet", mode="folder")
    return Data(info, ImageFiles(tmp_path, names, 4))


def first_images(loader: TrainingLoader) -> torch.Tensor:
    return next(loader.epoch(0))[0]


def test_packed_images_stay_in_memory_and_folders_are_streamed(packed: Data, folder: Data) -> None:
    assert isinstance(loader_for(packed, batch_size=2, seed=0), InMemory)
    assert isinstance(loader_for(folder, batch_size=2, seed=0), Streamed)


def test_auto_is_the_augmentation_that_the_dataset_suggests(packed: Data, folder: Data) -> None:
    for data, suggested in ((packed, "shift1"), (folder, "imagenet")):
        auto = first_images(loader_for(data, batch_size=4, seed=3))
        same = first_images(loader_for(data, batch_size=4, augment=suggested, seed=3))
        other = first_images(loader_for(data, batch_size=4, augment="none", seed=3))
        assert torch.equal(auto, same)
        assert not torch.equal(auto, other)


def test_an_augmentation_of_the_other_kind_is_refused(packed: Data, folder: Data) -> None:
    for data, augment in ((packed, "imagenet"), (folder, "pad4flip")):
        with pytest.raises(ConfigError) as caught:
            loader_for(data, batch_size=2, augment=augment, seed=0)
        assert (caught.value.field, caught.value.value) == ("augment", augment)


def test_a_suggested_augmentation_that_does_not_exist_is_refused(packed: Data) -> None:
    broken = replace(packed, info=replace(packed.info, augment="cutout"))
    with pytest.raises(ConfigError, match="cutout"):
        loader_for(broken, batch_size=2, seed=0)


def test_a_recipe_can_be_read_without_torch() -> None:
    """`netslim.training.recipe` needs the names of the augmentations, and export steps have no torch."""
    script = "import sys, netslim.training.recipe; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
