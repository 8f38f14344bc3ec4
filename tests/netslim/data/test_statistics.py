"""Channel statistics against numpy's mean and standard deviation over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netslim.data import ImageFiles, statistics
from netslim.data.info import Split
from netslim.errors import DataError


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std_are_over_pixels(channels: int) -> None:
    random = np.random.default_rng(0)
    images = (random.random((2300, 5, 4, channels)) ** (1 + np.arange(channels)) * 256).astype(np.uint8)
    mean, std = statistics.channel_statistics(Split(images, np.zeros(2300, np.int64)), 0)
    unit = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, unit.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, unit.std((0, 1, 2)), rtol=1e-12)


def test_the_batches_in_which_pixels_are_counted_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(256, size=(9, 4, 4, 3), dtype=np.uint8)
    split = Split(images, np.zeros(9, np.int64))
    expected = statistics.channel_statistics(split, 0)
    for nbytes in (1, 100):  # one image of 48 bytes, and two, at once
        monkeypatch.setattr(statistics, "BATCH", nbytes)
        assert statistics.channel_statistics(split, 0) == expected


def test_a_blank_channel_is_refused() -> None:
    images = np.random.default_rng(0).integers(256, size=(9, 4, 4, 3), dtype=np.uint8)
    images[..., 2] = 7
    with pytest.raises(DataError, match="channel 2 is the same in every pixel"):
        statistics.channel_statistics(Split(images, np.zeros(9, np.int64)), 0)


def test_streamed_images_are_sampled_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in range(100):
        grey = np.full((4, 4, 3), value, np.uint8)
        grey[0] += 100
        Image.fromarray(grey).save(tmp_path / f"{value}.png")
    files = ImageFiles(tmp_path, tuple(f"{value}.png" for value in range(100)), 4)
    split = Split(files, np.zeros(100, np.int64))
    exact, _ = statistics.channel_statistics(split, 0)
    assert exact == pytest.approx([(49.5 + 25) / 255] * 3)
    monkeypatch.setattr(statistics, "SAMPLE", 60)
    sampled = [statistics.channel_statistics(split, seed)[0][0] for seed in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert sampled[0] == pytest.approx(exact[0], abs=4 * 28.9 / 60**0.5 / 255)
