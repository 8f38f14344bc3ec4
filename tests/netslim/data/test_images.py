"""Decoding and cutting image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from netslim.data.image_file import decode
from netslim.data.images import ImageFiles, centre, random_crop
from netslim.errors import DataError


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Red tells the row, green the column, as a share of 255."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 / (height - 1), columns * 255 / (width - 1), rows * 0], axis=-1)
    return pixels.round().astype(np.uint8)


def test_the_centre_is_the_middle_seven_eighths_of_the_shorter_side() -> None:
    cut = centre(Image.fromarray(ramp(256, 512)), 224)
    assert cut.shape == (224, 224, 3)
    assert cut[0, 0, 0] == pytest.approx(255 * 16 / 255, abs=1)  # 256 rows: 16 fall off at each end
    assert cut[-1, 0, 0] == pytest.approx(255 * 239 / 255, abs=1)
    assert cut[0, 0, 1] == pytest.approx(255 * 144 / 511, abs=1)  # 512 columns: 144 on each side
    assert cut[0, -1, 1] == pytest.approx(255 * 367 / 511, abs=1)


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    assert np.array_equal(centre(Image.fromarray(pixels), 8), pixels)


@pytest.mark.parametrize("size", [(300, 400), (37, 31), (32, 9), (500, 20), (3, 200)])
def test_the_crop_has_the_pixels_of_the_image_that_is_resized_as_a_whole(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    scale = 16 * 256 / 224 / min(size)
    resized = image.resize([max(16, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
    left, top = ((side - 16) // 2 for side in resized.size)
    expected = np.asarray(resized.crop((left, top, left + 16, top + 16))).astype(int)
    assert np.abs(centre(image, 16) - expected).max() <= 1  # rounded at another point


@pytest.mark.parametrize("size", [(60_000, 1), (1, 60_000)])
def test_a_line_of_pixels_costs_no_more_than_its_crop(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resize, made = Image.Image.resize, []

    def recorded(image: Image.Image, new: tuple[int, int], *rest: Any, **options: Any) -> Image.Image:
        made.append(new)
        return resize(image, new, *rest, **options) if max(new) < 10_000 else image

    monkeypatch.setattr(Image.Image, "resize", recorded)
    line = Image.fromarray(np.full((*size, 3), 77, np.uint8))
    assert (centre(line, 224) == 77).all()
    assert (random_crop(line, 224, np.random.default_rng(0)) == 77).all()
    assert made == [(224, 224)] * 2


def test_random_crops_keep_to_their_area_and_aspect_and_mirror_half() -> None:
    image = Image.fromarray(ramp(200, 200))
    random = np.random.default_rng(0)
    areas, aspects, mirrored = [], [], 0
    for _ in range(400):
        cut = random_crop(image, 16, random).astype(int)
        mirrored += cut[0, 0, 1] > cut[0, -1, 1]
        height, width = (cut[-1, :, 0] - cut[0, :, 0]).mean(), abs(cut[:, -1, 1] - cut[:, 0, 1]).mean()
        areas.append(height * width / 255**2 * (16 / 15) ** 2)  # from the first pixel's middle to the last's
        aspects.append(width / height)
    assert 0.05 < min(areas) < 0.12
    assert 0.9 < max(areas) <= 1.05
    assert 0.7 < min(aspects) < 0.8
    assert 1.25 < max(aspects) < 1.42
    assert 160 < mirrored < 240


def test_an_extreme_image_is_taken_whole() -> None:
    cut = random_crop(Image.fromarray(ramp(2, 300)), 8, np.random.default_rng(0))
    assert cut.shape == (8, 8, 3)
    assert abs(int(cut[0, -1, 1]) - int(cut[0, 0, 1])) > 200


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    names = []
    for value in range(5):
        Image.fromarray(np.full((10, 12, 3), 50 * value, np.uint8)).save(tmp_path / f"{value}.png")
        names.append(f"{value}.png")
    return ImageFiles(tmp_path, tuple(names), 6)


def test_image_files_look_like_an_array(files: ImageFiles) -> None:
    assert files.shape == (5, 6, 6, 3)
    assert len(files) == 5
    assert [int(image[0, 0, 0]) for image in files[1:4]] == [50, 100, 150]
    assert files[3:99].shape == (2, 6, 6, 3)
    assert files[5:9].shape == (0, 6, 6, 3)
    assert files.take(np.array([4, 0])).paths == ("4.png", "0.png")
    assert files.random_crop(2, np.random.default_rng(0))[0, 0].tolist() == [100] * 3


def test_what_cannot_be_decoded_is_named(files: ImageFiles, tmp_path: Path) -> None:
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"3\.png: cannot be decoded.*replace or remove it"):
        files[0:5]
    (tmp_path / "3.png").write_text("not an image")
    with pytest.raises(DataError, match=r"3\.png: cannot be decoded"):
        decode(tmp_path / "3.png")
    (tmp_path / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png: no such image"):
        files.random_crop(3, np.random.default_rng(0))
