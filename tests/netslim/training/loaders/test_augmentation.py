"""Crops and mirror images against plain slicing, image by image; distortions against their formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.training.loaders.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    CropBatch,
    Warp,
    affine_matrices,
    crop_windows,
    draw_crops,
    padded_rows,
)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_window_is_the_crop_at_its_index(name: str, channels: int) -> None:
    augmentation = AUGMENTATIONS[name]
    images = np.random.default_rng(0).integers(1, 256, (4, 6, 5, channels), dtype=np.uint8)
    rows = padded_rows(images, augmentation)
    windows = crop_windows(rows, 6, 5, channels)
    as_tensor = torch.from_numpy(rows).unfold(2, 6, 1).unfold(3, 5 * channels, channels)  # as on a GPU
    pad = augmentation.pad
    assert windows.shape == as_tensor.shape
    for image in range(4):
        black = np.zeros((6 + 2 * pad, 5 + 2 * pad, channels), np.uint8)
        black[pad : pad + 6, pad : pad + 5] = images[image]
        for mirrored in range(1 + augmentation.mirror):
            padded = black[:, ::-1] if mirrored else black
            for top in range(2 * pad + 1):
                for left in range(2 * pad + 1):
                    expected = padded[top : top + 6, left : left + 5].reshape(6, 5 * channels)
                    assert np.array_equal(windows[image, mirrored, top, left], expected)
                    assert np.array_equal(as_tensor[image, mirrored, top, left].numpy(), expected)


def test_without_augmentation_nothing_is_copied() -> None:
    images = np.zeros((3, 4, 4, 1), np.uint8)
    rows = padded_rows(images, Augmentation())
    assert np.shares_memory(rows, images)
    assert np.shares_memory(crop_windows(rows, 4, 4, 1), images)


def test_a_slice_of_the_epoch_is_a_batch() -> None:
    crops = draw_crops(10, AUGMENTATIONS["affine"], seed=0, epoch=0)
    batch = crops[4:7]
    assert isinstance(batch, CropBatch)
    for name in ("image", "mirrored", "top", "left", "warp"):
        assert np.array_equal(getattr(batch, name), getattr(crops, name)[4:7])
    assert draw_crops(10, AUGMENTATIONS["none"], seed=0, epoch=0)[4:7].warp is None


def test_an_epoch_has_every_image_once() -> None:
    crops = draw_crops(1000, AUGMENTATIONS["pad4flip"], seed=3, epoch=7)
    assert np.array_equal(np.sort(crops.image), np.arange(1000))
    assert set(crops.mirrored) == {0, 1}
    assert set(crops.top) == set(crops.left) == set(range(9))
    assert 400 < crops.mirrored.sum() < 600  # 6 sigma around half


def test_crops_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        np.random.random(5)  # the global generator has no influence
        return list(draw_crops(50, AUGMENTATIONS["shift1"], seed=seed, epoch=epoch).image)

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_without_a_warp_the_random_numbers_are_those_of_the_first_version() -> None:
    crops = draw_crops(50, AUGMENTATIONS["pad4flip"], seed=1, epoch=2)
    assert crops.warp is None
    random = np.random.default_rng([1, 2])
    assert crops.image.tolist() == random.permutation(50).tolist()
    assert crops.mirrored.tolist() == random.integers(2, size=50).tolist()


def test_the_amounts_of_a_warp_fill_their_range_evenly() -> None:
    warp = draw_crops(2000, AUGMENTATIONS["affine"], seed=0, epoch=0).warp
    assert warp is not None
    assert warp.shape == (2000, 5)
    assert np.abs(warp).max() <= 1
    assert (warp.max(axis=0) > 0.99).all()
    assert (warp.min(axis=0) < -0.99).all()
    assert np.abs(warp.mean(axis=0)).max() < 0.08  # 6 sigma: 0.077


LIMITS = Warp(degrees=30, scale=0.25, shear=0.5, shift=3)
X, Y = 4.0, -6.0  # in pixels, from the middle of the image


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, (X * np.sqrt(3) / 2 - Y / 2, X / 2 + Y * np.sqrt(3) / 2)),
        (1, (X / 1.25, Y / 1.25)),
        (2, (X + Y / 2, Y)),
        (3, (X - 3, Y)),
        (4, (X, Y - 3)),
    ],
)
def test_each_amount_of_a_warp_moves_a_pixel_by_its_formula(
    amount: int, expected: tuple[float, float]
) -> None:
    """One amount at its limit, the others 0: from the pixel in the distorted image to its source."""
    height, width = 20, 30
    warps = np.zeros((1, 5), np.float32)
    warps[0, amount] = 1
    (matrix,) = affine_matrices(warps, LIMITS, (height, width))
    source = matrix @ [X / (width / 2), Y / (height / 2), 1]
    assert np.allclose(source * [width / 2, height / 2], expected, atol=1e-5)
