"""Crops and mirrors against plain slicing, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.training.loaders.augmentation import AUGMENTATIONS, Augmentation, Warp, draw, maps, windows


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_window_is_the_crop_it_names(name, channels):
    augmentation = AUGMENTATIONS[name]
    images = np.random.default_rng(0).integers(1, 256, (4, 6, 5, channels), dtype=np.uint8)
    found = windows(images, augmentation)
    by_numpy = found.numpy()
    by_torch = torch.from_numpy(found.memory).as_strided(found.shape, found.strides)
    pad = augmentation.pad
    for image in range(4):
        black = np.zeros((6 + 2 * pad, 5 + 2 * pad, channels), np.uint8)
        black[pad : pad + 6, pad : pad + 5] = images[image]
        for mirrored in range(1 + augmentation.mirror):
            padded = black[:, ::-1] if mirrored else black
            for dy in range(2 * pad + 1):
                for dx in range(2 * pad + 1):
                    expected = padded[dy : dy + 6, dx : dx + 5].reshape(6, 5 * channels)
                    assert np.array_equal(by_numpy[image, mirrored, dy, dx], expected)
                    assert np.array_equal(by_torch[image, mirrored, dy, dx].numpy(), expected)


def test_without_augmentation_nothing_is_copied():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    assert np.shares_memory(windows(images, Augmentation()).memory, images)


def test_an_epoch_sees_every_image_once():
    drawn = draw(1000, AUGMENTATIONS["pad4flip"], seed=3, epoch=7)
    assert np.array_equal(np.sort(drawn.image), np.arange(1000))
    assert set(drawn.mirrored) == {0, 1}
    assert set(drawn.dy) == set(drawn.dx) == set(range(9))
    assert 400 < drawn.mirrored.sum() < 600  # 6 sigma around half


def test_draws_depend_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        np.random.random(5)  # the global generator does not matter
        return draw(50, AUGMENTATIONS["shift1"], seed=seed, epoch=epoch).image.tolist()

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_without_a_warp_the_draws_are_what_they_were_before_there_were_warps():
    drawn = draw(50, AUGMENTATIONS["pad4flip"], seed=1, epoch=2)
    assert drawn.bent is None
    random = np.random.default_rng([1, 2])
    assert drawn.image.tolist() == random.permutation(50).tolist()
    assert drawn.mirrored.tolist() == random.integers(2, size=50).tolist()


def test_bends_fill_their_range_and_stay_in_it():
    bent = draw(2000, AUGMENTATIONS["affine"], seed=0, epoch=0).bent
    assert bent is not None
    assert bent.shape == (2000, 5)
    assert np.abs(bent).max() <= 1
    assert (bent.max(axis=0) > 0.99).all()
    assert (bent.min(axis=0) < -0.99).all()
    assert np.abs(bent.mean(axis=0)).max() < 0.08  # 6 sigma: 0.077


@pytest.mark.parametrize("part", range(5))
def test_a_bend_moves_a_place_as_it_says(part):
    """One bend at a time, in pixels, from the place in the bent image to the one it came from."""
    height, width = 20, 30
    warp = Warp(degrees=30, scale=0.25, shear=0.5, shift=3)
    bent = np.zeros((1, 5), np.float32)
    bent[0, part] = 1
    across, down = 4.0, -6.0  # from the middle, in pixels
    wanted = [
        (across * np.sqrt(3) / 2 - down / 2, across / 2 + down * np.sqrt(3) / 2),
        (across / 1.25, down / 1.25),
        (across + down / 2, down),
        (across - 3, down),
        (across, down - 3),
    ][part]
    found = maps(bent, warp, (height, width))[0] @ [across / (width / 2), down / (height / 2), 1]
    assert np.allclose(found * [width / 2, height / 2], wanted, atol=1e-5)
