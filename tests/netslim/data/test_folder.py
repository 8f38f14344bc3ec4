"""Image folders: packed where they fit, streamed where they do not, refused where they are wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netslim import data
from netslim.data import ImageFiles, folder, statistics
from netslim.errors import ConfigError, DataError

Make = Callable[..., Path]


def test_equal_images_are_packed_as_they_are(image_folder: Make, tmp_path: Path) -> None:
    root = image_folder()
    (root / "train" / "cat" / "notes.txt").write_text("not an image, and none of our business")
    info = data.prepare("folder", tmp_path / "out", root=root)
    assert (info.mode, info.root) == ("packed", "")
    assert (info.title, info.classes) == ("pets (image folder)", ("cat", "dog"))
    assert (info.image_size, info.channels, info.augment) == ((6, 9), 3, "pad4flip")
    split = data.open_dataset(tmp_path / "out").split("train")
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    for index, file in enumerate(sorted((root / "train").rglob("*.png"))):
        assert np.array_equal(split.images[index], np.asarray(Image.open(file)))


def test_the_title_can_be_given(image_folder: Make, tmp_path: Path) -> None:
    info = data.prepare("folder", tmp_path / "out", root=image_folder(), title="CIFAR-10 (JPEG copy)")
    assert data.open_dataset(tmp_path / "out").info.title == info.title == "CIFAR-10 (JPEG copy)"


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_grey_images_stay_grey_and_all_others_become_rgb(
    image_folder: Make, tmp_path: Path, mode: str, channels: int
) -> None:
    assert data.prepare("folder", tmp_path / "out", root=image_folder(mode=mode)).channels == channels


def test_one_coloured_image_makes_all_rgb(image_folder: Make, tmp_path: Path) -> None:
    root = image_folder(mode="L")
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(root / "test" / "dog" / "colour.png")
    assert data.prepare("folder", tmp_path / "out", root=root).channels == 3


def test_val_is_the_test_set_where_there_is_no_other(image_folder: Make, tmp_path: Path) -> None:
    root = image_folder({"train": (4, 4), "val": (4, 4)})
    assert data.prepare("folder", tmp_path / "out", root=root).sizes == {"train": 6, "test": 6}


def test_val_beside_test_is_the_validation_set(image_folder: Make, tmp_path: Path) -> None:
    root = image_folder({"train": (4, 4), "val": (4, 4), "test": (4, 4)})
    assert data.prepare("folder", tmp_path / "out", root=root).sizes == {"train": 6, "val": 6, "test": 6}
    with pytest.raises(ConfigError, match=r"validation = 2: the images come with val/"):
        data.prepare("folder", tmp_path / "out", root=root, validation=2)


def test_a_size_makes_different_images_equal(image_folder: Make, tmp_path: Path) -> None:
    root = image_folder({"train": (20, 30), "test": (50, 16)})
    with pytest.raises(DataError, match=r"differ in size: train/cat/0.png is 20 x 30, .*Give a size"):
        data.prepare("folder", tmp_path / "out", root=root)
    info = data.prepare("folder", tmp_path / "out", root=root, size=12)
    assert (info.mode, info.image_size) == ("packed", (12, 12))


def test_what_does_not_fit_is_streamed_and_looks_the_same(
    image_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder({"train": (20, 30), "test": (50, 16)})
    packed = data.prepare("folder", tmp_path / "packed", root=root, size=12, validation=2)
    monkeypatch.setattr(folder, "LIMIT", 12 * 12 * 12 * 3 - 1)  # twelve images, one byte short
    streamed = data.prepare("folder", tmp_path / "streamed", root=root, size=12, validation=2)
    assert (streamed.mode, streamed.root, streamed.augment) == ("folder", str(root), "imagenet")
    assert (streamed.mean, streamed.std, streamed.sizes) == (packed.mean, packed.std, packed.sizes)
    for name in ("train", "val", "test"):
        files, arrays = (data.open_dataset(tmp_path / kind).split(name) for kind in ("streamed", "packed"))
        assert isinstance(files.images, ImageFiles)
        assert files.labels.tolist() == arrays.labels.tolist()
        assert np.array_equal(files.images[:], arrays.images[:])


def test_a_wrong_file_is_found_before_images_are_streamed(
    image_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder()
    monkeypatch.setattr(folder, "LIMIT", 100)
    monkeypatch.setattr(statistics, "SAMPLE", 2)  # so that not every image is decoded
    (root / "train" / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"train/dog/2.png: cannot be decoded"):
        data.prepare("folder", tmp_path / "out", root=root, size=8)


@pytest.mark.parametrize("size", [None, 4])
def test_images_of_16_bits_keep_their_range(tmp_path: Path, size: int | None) -> None:
    root = deep_images(tmp_path / "pets", largest=65_535)
    data.prepare("folder", tmp_path / "out", root=root, size=size)
    pixels = data.open_dataset(tmp_path / "out").split("train").images[:]
    assert 110 < pixels.mean() < 145
    assert len(np.unique(pixels)) > 50


def test_images_of_a_12_bit_camera_in_16_bits_are_refused(tmp_path: Path) -> None:
    root = deep_images(tmp_path / "pets", largest=4_095)
    with pytest.raises(DataError, match=r"16 bits are dark: .* 4\d\d\d of 65535. Scale the values to 0 to"):
        data.prepare("folder", tmp_path / "out", root=root)


def deep_images(root: Path, *, largest: int) -> Path:
    """An image folder of 16-bit PNG files, 8 x 8, with values from 0 to `largest`."""
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for number in range(3):
                pixels = random.integers(largest + 1, size=(8, 8)).astype(np.uint16)
                Image.fromarray(pixels).save(root / part / label / f"{number}.png")
    return root


def test_streaming_notices_an_edited_list_and_a_missing_root(
    image_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder()
    monkeypatch.setattr(folder, "LIMIT", 100)
    with pytest.raises(DataError, match=r"12 images of 6 x 9 do not fit in memory.*Give a size"):
        data.prepare("folder", tmp_path / "out", root=root)
    data.prepare("folder", tmp_path / "out", root=root, size=8)
    shutil.move(root, tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"pets: the folder of the images does not exist. Mount the volume"):
        data.open_dataset(tmp_path / "out").split("train")
    listed = tmp_path / "out" / "train.jsonl"
    listed.write_text(listed.read_text().replace("cat", "dog"))
    with pytest.raises(DataError, match=r"train.jsonl: truncated or altered"):
        data.open_dataset(tmp_path / "out").split("train")


def test_imagenet_with_other_classes_is_named_a_subset(image_folder: Make, tmp_path: Path) -> None:
    info = data.prepare("imagenet", tmp_path / "out", root=image_folder({"train": (30, 40), "val": (25, 25)}))
    assert (info.title, info.image_size, info.augment) == ("ImageNet subset (pets)", (224, 224), "imagenet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root), r"no such folder. It should hold train/<class>/<image>"),
        (lambda root: shutil.rmtree(root / "test"), "has no folder test"),
        (lambda root: (root / "train").rename(root / "training"), "has no folder train"),
        (lambda root: [shutil.rmtree(root / "train" / k) for k in ("cat", "dog")], "no folders of classes"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), r"test: has class dog, which train/ does not"),
        (
            lambda root: [f.unlink() for f in (root / "train" / "dog").iterdir()],
            "no training images of class dog",
        ),
        (lambda root: [f.unlink() for f in (root / "test").rglob("*.png")], "test: has no images"),
        (lambda root: [f.unlink() for f in root.rglob("*.png")], "has no images"),
        (
            lambda root: (root / "test" / "cat" / "1.png").write_bytes(b"\x89PNG\r\n"),
            r"1.png: cannot be decoded",
        ),
        (
            lambda root: Image.fromarray(np.zeros((9, 6, 3), np.uint8)).save(root / "test" / "dog" / "2.png"),
            r"test/dog/2.png 9 x 6",
        ),
    ],
)
def test_a_wrong_folder_is_refused_and_nothing_is_left(
    image_folder: Make, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    root = image_folder()
    spoil(root)
    with pytest.raises(DataError, match=message):
        data.prepare("folder", tmp_path / "out", root=root)
    assert [entry.name for entry in tmp_path.iterdir() if entry != root] == []


def test_the_list_of_files_keeps_any_name(
    image_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = image_folder()
    strange = 'a "b"\té\n.png'
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / strange)
    monkeypatch.setattr(folder, "LIMIT", 100)
    data.prepare("folder", tmp_path / "out", root=root, size=8)
    lines = (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [0, f"train/cat/{strange}"] in [json.loads(line) for line in lines]
    assert data.open_dataset(tmp_path / "out").split("train").images[:].shape == (6, 8, 8, 3)
