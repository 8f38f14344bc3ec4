"""Options of `prepare`, and datasets from s3://."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netslim import data
from netslim.data import folder
from netslim.errors import ConfigError, DataError, StorageError
from netslim.storage import s3


def test_the_names() -> None:
    assert data.names() == sorted(
        ["digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "imagenet", "folder"]
    )
    assert data.PAPER_VALIDATION == {"cifar10": 5000, "svhn": 6000}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifar", {}, r"dataset = cifar: no such dataset. Did you mean cifar10\?"),
        ("xyz", {}, r"no such dataset. Choose one of cifar10, cifar100, digits"),
        ("digits", {"validation": -1}, r"validation = -1: must not be negative"),
        ("digits", {"validation": 1000}, r"validation = 1000: .*There are 1,000 training images"),
        ("digits", {"seed": -1}, r"seed = -1: must be between 0"),
        ("digits", {"size": 16}, r"size = 16: the images of digits have their size already"),
        ("folder", {"root": ".", "size": 0}, r"size = 0: must be positive"),
        ("folder", {"root": ".", "size": 10**9}, r"size = 1000000000: must be at most 8192 pixels"),
        ("folder", {}, r"data root: folder needs one. Give the folder or the s3:// address of its files\."),
        ("cifar10", {}, r"data root: cifar10 needs one. .*, or ask for the download"),
        ("imagenet", {"download": True}, r"dataset = imagenet: cannot be downloaded"),
        ("mnist", {"download": True, "root": "s3://b/mnist"}, r"data root = s3://b/mnist: a download cannot"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data.prepare(name, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_validation_draw_that_empties_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no training images of class .*draw fewer validation images"):
        data.prepare("digits", tmp_path / "out", validation=995)
    assert list(tmp_path.iterdir()) == []


def test_statistics_leave_validation_and_test_images_out(tmp_path: Path) -> None:
    info = data.prepare("digits", tmp_path / "out", validation=300)
    train = data.open_dataset(tmp_path / "out").split("train").images[:].astype(np.float64) / 255
    assert info.mean == pytest.approx([train.mean()])
    assert info.std == pytest.approx([train.std()])


def test_official_files_come_from_s3(
    bucket: str, tmp_path: Path, idx_files: Callable[[Path], dict[str, tuple[np.ndarray, np.ndarray]]]
) -> None:
    made = idx_files(tmp_path / "sets" / "MNIST" / "raw")
    (tmp_path / "sets" / "other.bin").write_bytes(b"not wanted")
    s3.upload_tree(tmp_path / "sets", f"s3://{bucket}/sets")
    data.prepare("mnist", tmp_path / "out", root=f"s3://{bucket}/sets")
    assert np.array_equal(data.open_dataset(tmp_path / "out").split("test").images[..., 0], made["test"][0])


def test_an_image_folder_comes_from_s3_packed_or_streamed(
    bucket: str, tmp_path: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.upload_tree(image_folder({"train": (9, 9), "test": (9, 9)}), f"s3://{bucket}/sets/pets")
    packed = data.prepare("folder", tmp_path / "packed", root=f"s3://{bucket}/sets/pets", size=9)
    assert packed.title == "pets (image folder)"
    assert sorted(file.name for file in (tmp_path / "packed").iterdir()) == [
        "SHA256SUMS",
        "dataset.json",
        "test.safetensors",
        "train.safetensors",
    ]
    monkeypatch.setattr(folder, "LIMIT", 100)
    streamed = data.prepare("folder", tmp_path / "streamed", root=f"s3://{bucket}/sets/pets", size=9)
    assert (streamed.mode, streamed.root) == ("folder", "images/pets")
    (tmp_path / "streamed").rename(tmp_path / "moved")  # as an artifact store would
    images = [data.open_dataset(tmp_path / name).split("train").images[:] for name in ("packed", "moved")]
    assert np.array_equal(*images)


def test_an_empty_place_in_s3_is_an_error(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=rf"s3://{bucket}/none: nothing to download there"):
        data.prepare("svhn", tmp_path / "out", root=f"s3://{bucket}/none")
    assert list(tmp_path.iterdir()) == []
