"""A packed dataset comes back as it was, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from netslim import data
from netslim.data import DatasetInfo, packed
from netslim.errors import DataError
from netslim.storage.atomic import sha256


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    data.prepare("digits", tmp_path / "digits", validation=200)
    return tmp_path / "digits"


def test_reading_needs_neither_torch_nor_pillow(digits: Path) -> None:
    code = f"""
import sys
from netslim import data
split = data.open_dataset({str(digits)!r}).split("test")
assert split.images.shape == (797, 8, 8, 1)
sys.exit("torch" in sys.modules or "PIL" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_image_is_read_once_with_its_label(digits: Path) -> None:
    dataset = data.open_dataset(digits)
    assert dataset.info.sizes == {"train": 800, "val": 200, "test": 797}
    found = []
    for name, size in dataset.info.sizes.items():
        split = dataset.split(name)
        assert len(split) == size
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert isinstance(split.images, np.ndarray)
        assert split.images.flags.writeable  # torch.from_numpy warns of anything else
        found += [(label, image.tobytes()) for label, image in zip(split.labels, split.images, strict=True)]
    from sklearn.datasets import load_digits  # here, because it takes seconds

    bunch = load_digits()
    pixels = np.round(bunch.images / 16 * 255).astype(np.uint8)
    assert sorted(found) == sorted(
        (k, image.tobytes()) for k, image in zip(bunch.target, pixels, strict=True)
    )


def test_the_digits_test_set_is_the_same_for_every_seed(tmp_path: Path) -> None:
    infos = [data.prepare("digits", tmp_path / str(seed), validation=100, seed=seed) for seed in (0, 1)]
    assert infos[0].sha256["test"] == infos[1].sha256["test"]
    assert infos[0].sha256["val"] != infos[1].sha256["val"]
    again = data.prepare("digits", tmp_path / "0", validation=100, seed=0)
    assert again == infos[0]


def test_info_is_unchanged_by_json(digits: Path) -> None:
    info = data.open_dataset(digits).info
    assert DatasetInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    assert info.classes == tuple("0123456789")


@pytest.mark.parametrize("keep", [0, 7, 5000])
def test_a_truncated_file_is_refused_by_name(digits: Path, keep: int) -> None:
    file = digits / "train.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    dataset = data.open_dataset(digits)
    assert len(dataset.split("test")) == 797
    with pytest.raises(
        DataError, match=r"train.safetensors: truncated or altered.*Prepare the dataset again"
    ):
        dataset.split("train")


def test_a_split_is_read_and_checked_once_per_dataset_object(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def recorded(file: Path) -> str:
        hashed.append(file.name)
        return sha256(file)

    monkeypatch.setattr(packed, "sha256", recorded)
    dataset = data.open_dataset(digits)
    first = dataset.split("test")
    assert dataset.split("test") is first
    assert dataset.split("val") is not first
    assert hashed == ["test.safetensors", "val.safetensors"]
    data.open_dataset(digits).split("test")  # another object does not rely on this check
    assert hashed == ["test.safetensors", "val.safetensors", "test.safetensors"]


def test_one_flipped_bit_is_detected(digits: Path) -> None:
    file = digits / "test.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"test.safetensors: truncated or altered"):
        data.open_dataset(digits).split("test")


def test_a_missing_split_is_named(digits: Path) -> None:
    (digits / "val.safetensors").unlink()
    with pytest.raises(DataError, match=r"val.safetensors: no such file"):
        data.open_dataset(digits).split("val")
    with pytest.raises(DataError, match=r"split = extra: .*no such split. It has train, val, test"):
        data.open_dataset(digits).split("extra")


def test_a_missing_validation_split_is_refused_with_its_remedy(tmp_path: Path) -> None:
    data.prepare("digits", tmp_path / "plain")
    with pytest.raises(DataError, match="It has train, test; prepare it with validation images"):
        data.open_dataset(tmp_path / "plain").split("val")


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset.json: no such file"):
        data.open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "netslim dataset 99"}, "not a dataset of this version"),
        ({"mean": [0.1, 0.2]}, "a field is missing or wrong"),
        ({"sizes": {"train": 3}}, "a field is missing or wrong"),
        ({"image_size": 8}, "a field is missing or wrong"),
    ],
)
def test_other_or_edited_json_is_refused(digits: Path, change: dict[str, object], message: str) -> None:
    file = digits / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=r"dataset.json: truncated or altered"):
        data.open_dataset(digits)
    (digits / "SHA256SUMS").unlink()  # as in a dataset of version 0.1.0
    with pytest.raises(DataError, match=message):
        data.open_dataset(digits)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "netslim dataset 1"}'])
def test_json_of_another_kind_is_refused(digits: Path, content: str) -> None:
    (digits / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=r"dataset\.json"):
        data.open_dataset(digits)


def test_a_shape_that_contradicts_the_json_is_refused(digits: Path) -> None:
    file = digits / "dataset.json"
    value = json.loads(file.read_text())
    file.write_text(json.dumps(value | {"sizes": value["sizes"] | {"test": 796}}))
    (digits / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"test.safetensors: holds images of shape \(797, 8, 8, 1\)"):
        data.open_dataset(digits).split("test")
