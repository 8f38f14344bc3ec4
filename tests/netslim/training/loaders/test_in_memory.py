"""Batches in memory against plain numpy, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.data import DatasetInfo, Split
from netslim.errors import ConfigError, DataError
from netslim.training import distributed
from netslim.training.loaders.augmentation import AUGMENTATIONS, draw_crops
from netslim.training.loaders.in_memory import InMemory, Normalise, Selection, ordered
from tests.helpers import infos


def info(images: np.ndarray, **changes) -> DatasetInfo:
    _, height, width, channels = images.shape
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.1, 0.2, 0.3)[:channels]
    return infos.info((height, width), channels, mean=mean, std=std, **changes)


def split(n: int = 23, height: int = 6, width: int = 5, channels: int = 3) -> Split:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return Split(images, random.integers(0, 2, n))


def normalised(images: np.ndarray, about: DatasetInfo) -> torch.Tensor:
    values = (images / 255 - np.array(about.mean)) / np.array(about.std)
    return torch.from_numpy(values.transpose(0, 3, 1, 2)).float()


@pytest.mark.parametrize("channels", [1, 3])
def test_ordered_batches_have_every_image_once_normalised(channels):
    data = split(channels=channels)
    about = info(data.images)
    batches = list(ordered(data, about, batch_size=10))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, normalised(data.images, about), rtol=1e-5, atol=1e-5)
    assert torch.cat([labels for _, labels in batches]).tolist() == data.labels.tolist()


def test_images_are_channels_last_in_memory():
    data = split()
    image_batch, _ = next(iter(ordered(data, info(data.images), batch_size=10)))
    assert image_batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", ["none", "shift1", "pad4flip"])
def test_training_batches_have_the_drawn_crops(augment):
    data = split()
    about = info(data.images)
    batches = InMemory(data, about, batch_size=5, augment=augment, seed=4)
    assert (batches.steps, batches.batch_size) == (4, 5)
    drawn, pad = draw_crops(23, AUGMENTATIONS[augment], seed=4, epoch=2), AUGMENTATIONS[augment].pad
    count = 0
    for images, labels in batches.epoch(2):
        for image, label in zip(images, labels, strict=True):
            number = drawn.image[count]
            padded = np.pad(data.images[number], ((pad, pad), (pad, pad), (0, 0)))
            if drawn.mirrored[count]:
                padded = padded[:, ::-1]
            top, left = drawn.top[count], drawn.left[count]
            expected = normalised(padded[None, top : top + 6, left : left + 5], about)[0]
            torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)
            assert int(label) == data.labels[number]
            count += 1
    assert count == 20


@pytest.mark.parametrize("augment", ["none", "pad4flip", "affine"])
def test_batches_made_by_torch_are_those_made_by_numpy(augment):
    """As on a GPU: an epoch's choices are sent at once, and batches are made from them."""
    data = split()
    by_torch, by_numpy = (
        InMemory(data, info(data.images), batch_size=5, augment=augment, seed=1, by_torch=made_by)
        for made_by in (True, False)
    )
    assert len(list(by_torch.epoch(3, 2))) == 2
    selections = by_torch.selections(3, 2)
    for (images, labels), selection, (expected, expected_labels) in zip(
        by_torch.epoch(3, 2), selections, by_numpy.epoch(3, 2), strict=True
    ):
        torch.testing.assert_close(images, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(labels, expected_labels)
        assert torch.equal(by_torch.batch(selection)[0], images)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_selection_is_overwritten_in_place_by_one_of_its_shape():
    data = split()
    loader = InMemory(data, info(data.images), batch_size=5, augment="affine", seed=1, by_torch=True)
    first, second = list(loader.selections(0))[:2]
    kept = first.clone()
    addresses = [tensor.data_ptr() for tensor in kept.tensors]
    assert kept.fits(second)
    kept.copy_(second)
    assert [tensor.data_ptr() for tensor in kept.tensors] == addresses
    assert torch.equal(loader.batch(kept)[0], loader.batch(second)[0])
    assert not torch.equal(loader.batch(kept)[0], loader.batch(first)[0])
    short = Selection(second.crops[:, :3], second.matrices[:3])
    assert not kept.fits(short)


def test_padding_is_black_before_normalising():
    white = Split(np.full((2, 4, 4, 1), 255, np.uint8), np.zeros(2, np.int64))
    about = info(white.images)
    batches = InMemory(white, about, batch_size=2, augment="shift1", seed=0)
    values = torch.cat([images for epoch in range(20) for images, _ in batches.epoch(epoch)]).unique()
    torch.testing.assert_close(values, torch.tensor([-4.0, 6.0]))  # (0 - 0.4) / 0.1 and (1 - 0.4) / 0.1


def test_an_epoch_entered_in_its_middle_has_the_remaining_batches():
    data = split()
    batches = InMemory(data, info(data.images), batch_size=5, augment="pad4flip", seed=1)
    whole = list(batches.epoch(3))
    for start in range(batches.steps + 1):
        rest = list(batches.epoch(3, start))
        assert len(rest) == batches.steps - start
        for (a, b), (c, d) in zip(rest, whole[start:], strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


def test_a_split_smaller_than_a_batch_is_one_batch():
    data = split(n=3)
    batches = InMemory(data, info(data.images), batch_size=64, augment="none", seed=0)
    assert [len(labels) for _, labels in batches.epoch(0)] == [3]


def test_a_single_training_image_is_refused():
    data = split(n=1)
    with pytest.raises(DataError, match="two images"):
        InMemory(data, info(data.images), batch_size=64, augment="none", seed=0)


def test_the_augmentation_of_image_folders_is_refused():
    data = split()
    with pytest.raises(ConfigError, match="image folders") as caught:
        InMemory(data, info(data.images), batch_size=4, augment="imagenet", seed=0)
    assert caught.value.field == "augment"


@pytest.mark.parametrize("rank", range(4))
def test_the_shards_of_several_processes_are_the_batch(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = split()

    def first_batch() -> tuple[torch.Tensor, torch.Tensor]:
        batches = InMemory(data, info(data.images), batch_size=10, augment="pad4flip", seed=1)
        return next(batches.epoch(2, start=1))

    images, labels = first_batch()
    monkeypatch.setattr(distributed, "size", lambda: 4)
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    shard = slice(*[(0, 2), (2, 5), (5, 7), (7, 10)][rank])
    assert torch.equal(first_batch()[0], images[shard])
    assert torch.equal(first_batch()[1], labels[shard])


def test_images_that_are_not_square_are_normalised():
    data = split(height=3, width=7)
    rows = torch.from_numpy(data.images).flatten(2)
    about = info(data.images)
    torch.testing.assert_close(Normalise(about)(rows), normalised(data.images, about), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_warped_batch_equals_scipys(channels):
    from scipy import ndimage

    data = split(channels=channels)
    about = info(data.images)
    drawn, limits = draw_crops(23, AUGMENTATIONS["affine"], seed=4, epoch=2), AUGMENTATIONS["affine"].warp
    middle = np.array([2.5, 2.0])  # of 6 rows and 5 columns
    images, _ = next(iter(InMemory(data, about, batch_size=8, augment="affine", seed=4).epoch(2)))
    for index, image in enumerate(images):
        angle, scale, shear, right, down = drawn.warp[index]
        angle = np.deg2rad(angle * limits.degrees)
        rotation = np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )  # (row, column)
        shearing = np.array([[1, 0], [shear * limits.shear, 1]])
        matrix = rotation @ shearing / (1 + scale * limits.scale)
        offset = middle - matrix @ middle - np.array([down, right]) * limits.shift
        source = data.images[drawn.image[index]].astype(np.float64)
        expected = np.stack(
            [
                ndimage.affine_transform(source[..., k], matrix, offset, order=1, mode="grid-constant")
                for k in range(channels)
            ],
            axis=-1,
        )
        torch.testing.assert_close(image, normalised(expected[None], about)[0], rtol=1e-3, atol=1e-3)
