"""Batches against a slow and obvious way of making them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.data import DatasetInfo, Split
from netslim.errors import ConfigError, DataError
from netslim.training.loaders.augmentation import AUGMENTATIONS, draw
from netslim.training.loaders.in_memory import InMemory, Normalise, ordered
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
def test_ordered_gives_every_image_once_normalised(channels):
    data = split(channels=channels)
    about = info(data.images)
    batches = list(ordered(data, about, batch_size=10))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images, normalised(data.images, about), rtol=1e-5, atol=1e-5)
    assert torch.cat([labels for _, labels in batches]).tolist() == data.labels.tolist()


def test_images_lie_channels_last():
    data = split()
    image_batch, _ = next(iter(ordered(data, info(data.images), batch_size=10)))
    assert image_batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", ["none", "shift1", "pad4flip"])
def test_training_batches_are_the_draws_one_by_one(augment):
    data = split()
    about = info(data.images, augment=augment)
    batches = InMemory(data, about, batch_size=5, seed=4)
    assert (batches.steps, batches.batch_size) == (4, 5)
    drawn, pad = draw(23, AUGMENTATIONS[augment], seed=4, epoch=2), AUGMENTATIONS[augment].pad
    seen = 0
    for images, labels in batches.epoch(2):
        for image, label in zip(images, labels, strict=True):
            number = drawn.image[seen]
            padded = np.pad(data.images[number], ((pad, pad), (pad, pad), (0, 0)))
            if drawn.mirrored[seen]:
                padded = padded[:, ::-1]
            dy, dx = drawn.dy[seen], drawn.dx[seen]
            expected = normalised(padded[None, dy : dy + 6, dx : dx + 5], about)[0]
            torch.testing.assert_close(image, expected, rtol=1e-5, atol=1e-5)
            assert int(label) == data.labels[number]
            seen += 1
    assert seen == 20


def test_padding_is_black_before_normalising():
    white = Split(np.full((2, 4, 4, 1), 255, np.uint8), np.zeros(2, np.int64))
    about = info(white.images, augment="shift1")
    seen = torch.cat(
        [
            images
            for epoch in range(20)
            for images, _ in InMemory(white, about, batch_size=2, seed=0).epoch(epoch)
        ]
    )
    values = seen.unique()
    torch.testing.assert_close(values, torch.tensor([-4.0, 6.0]))  # (0 - 0.4) / 0.1 and (1 - 0.4) / 0.1


def test_an_epoch_entered_in_its_middle_goes_on_as_the_whole_one():
    data = split()
    batches = InMemory(data, info(data.images, augment="pad4flip"), batch_size=5, seed=1)
    whole = list(batches.epoch(3))
    for start in range(batches.steps + 1):
        rest = list(batches.epoch(3, start))
        assert len(rest) == batches.steps - start
        for (a, b), (c, d) in zip(rest, whole[start:], strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


def test_a_split_smaller_than_a_batch_is_one_batch():
    data = split(n=3)
    batches = InMemory(data, info(data.images), batch_size=64, seed=0)
    assert [len(labels) for _, labels in batches.epoch(0)] == [3]


def test_too_few_images_to_train_on():
    data = split(n=1)
    with pytest.raises(DataError, match="two images"):
        InMemory(data, info(data.images), batch_size=64, seed=0)


def test_packed_images_cannot_take_a_folders_augmentation():
    data = split()
    with pytest.raises(ConfigError, match="image folders") as caught:
        InMemory(data, info(data.images), batch_size=4, augment="imagenet", seed=0)
    assert caught.value.field == "augment"


def test_an_override_beats_the_datasets_augmentation():
    data = split()
    plain = InMemory(data, info(data.images, augment="pad4flip"), batch_size=23, augment="none", seed=0)
    images, _ = next(plain.epoch(0))
    expected = normalised(
        data.images[draw(23, AUGMENTATIONS["none"], seed=0, epoch=0).image], plain_info := info(data.images)
    )
    assert plain_info.augment == "none"
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)


def test_normalise_knows_rows_of_any_width():
    data = split(height=3, width=7)
    rows = torch.from_numpy(data.images).flatten(2)
    about = info(data.images)
    torch.testing.assert_close(Normalise(about)(rows), normalised(data.images, about), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_bent_batch_is_what_scipy_makes_of_it(channels):
    from scipy import ndimage

    data = split(channels=channels)
    about = info(data.images)
    drawn, warp = draw(23, AUGMENTATIONS["affine"], seed=4, epoch=2), AUGMENTATIONS["affine"].warp
    middle = np.array([2.5, 2.0])  # of 6 rows and 5 columns
    images, _ = next(iter(InMemory(data, about, batch_size=8, augment="affine", seed=4).epoch(2)))
    for place, image in enumerate(images):
        turn, grow, slant, right, down = drawn.bent[place]
        angle = np.deg2rad(turn * warp.degrees)
        turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # (row, column)
        slanted = np.array([[1, 0], [slant * warp.shear, 1]])
        matrix = turned @ slanted / (1 + grow * warp.scale)
        start = middle - matrix @ middle - np.array([down, right]) * warp.shift
        source = data.images[drawn.image[place]].astype(np.float64)
        expected = np.stack(
            [
                ndimage.affine_transform(source[..., k], matrix, start, order=1, mode="grid-constant")
                for k in range(channels)
            ],
            axis=-1,
        )
        torch.testing.assert_close(image, normalised(expected[None], about)[0], rtol=1e-3, atol=1e-3)
