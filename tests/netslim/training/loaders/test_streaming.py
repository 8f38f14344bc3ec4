"""Streamed batches: independent of the number of workers, and the same after a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from netslim.data import DatasetInfo, ImageFiles, Split
from netslim.errors import ConfigError, DataError
from netslim.training import distributed
from netslim.training.loaders.streaming import Streamed
from tests.helpers import infos

SIZE = 8


@pytest.fixture
def folder(tmp_path) -> Split:
    random = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(11)]
    for name in names:
        Image.fromarray(random.integers(0, 256, (16, 12, 3), dtype=np.uint8)).save(tmp_path / name)
    return Split(ImageFiles(tmp_path, tuple(names), SIZE), np.arange(11, dtype=np.int64))


def info() -> DatasetInfo:
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return infos.info((SIZE, SIZE), 3, mean=mean, std=std, augment="imagenet", mode="folder")


def streamed(folder: Split, *, batch_size: int, augment: str = "imagenet", seed: int = 2) -> Streamed:
    return Streamed(folder, info(), batch_size=batch_size, augment=augment, seed=seed)


def test_each_crop_is_a_function_of_seed_epoch_and_image(folder):
    batches = streamed(folder, batch_size=4, seed=5)
    assert batches.steps == 2
    seen = []
    for images, labels in batches.epoch(1):
        assert images.shape == (4, 3, SIZE, SIZE)
        for image, label in zip(images, labels.tolist(), strict=True):
            crop = folder.images.random_crop(label, np.random.default_rng([5, 1, label]))
            expected = torch.from_numpy((crop / 255 - 0.5) / 0.25).permute(2, 0, 1).float()
            torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)
            seen.append(label)
    assert len(set(seen)) == 8


def test_without_augmentation_the_image_is_that_of_evaluation(folder):
    images, labels = next(streamed(folder, batch_size=4, augment="none").epoch(0))
    first = int(labels[0])
    expected = torch.from_numpy((folder.images[first : first + 1][0] / 255 - 0.5) / 0.25).permute(2, 0, 1)
    torch.testing.assert_close(images[0], expected.float(), rtol=1e-5, atol=1e-5)


def test_an_epoch_entered_in_its_middle_has_the_remaining_batches(folder):
    batches = streamed(folder, batch_size=3)
    complete = list(batches.epoch(4))
    rest = list(batches.epoch(4, 1))
    assert len(rest) == len(complete) - 1
    for (a, b), (c, d) in zip(rest, complete[1:], strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_worker_processes_change_nothing(folder, monkeypatch):
    """The workers of a GPU, without the GPU."""
    alone = list(streamed(folder, batch_size=3).epoch(0))
    helped = streamed(folder, batch_size=3)
    helped._loader = torch.utils.data.DataLoader(
        helped._loader.dataset, batch_sampler=helped._keys, num_workers=2, persistent_workers=True
    )
    for _ in range(2):  # the second epoch goes through the same workers
        for (a, b), (c, d) in zip(helped.epoch(0), alone, strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named_also_by_a_worker(folder, workers):
    """torch would put the traceback of the worker into the message."""
    file = folder.images.root / "5.png"
    file.write_bytes(file.read_bytes()[:-30])
    batches = streamed(folder, batch_size=11)
    batches._loader = torch.utils.data.DataLoader(
        batches._loader.dataset,
        batch_sampler=batches._keys,
        num_workers=workers,
        collate_fn=batches._loader.collate_fn,
    )
    with pytest.raises(DataError, match=r"5\.png: cannot be decoded .*replace or remove it\.$") as caught:
        list(batches.epoch(0))
    assert caught.value.field == str(file)
    assert "\n" not in str(caught.value)


def test_an_augmentation_of_packed_images_is_refused(folder):
    with pytest.raises(ConfigError, match="packed") as caught:
        streamed(folder, batch_size=3, augment="pad4flip")
    assert caught.value.field == "augment"


def test_the_shards_of_several_processes_are_the_batch(folder, monkeypatch):
    complete = list(streamed(folder, batch_size=5).epoch(3))
    shards = []
    monkeypatch.setattr(distributed, "size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shards.append(list(streamed(folder, batch_size=5).epoch(3)))
    for (images, labels), first, second in zip(complete, *shards, strict=True):
        assert (len(first[1]), len(second[1])) == (2, 3)
        assert torch.equal(torch.cat([first[0], second[0]]), images)
        assert torch.equal(torch.cat([first[1], second[1]]), labels)
