"""Files are whole or not there, also on a disk that is full."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from netslim.errors import DataError, StorageError
from netslim.storage.atomic import atomic_directory, atomic_file, read_json, sha256, write_json

FULL = "/dev/full"  # a device whose every write the kernel refuses with ENOSPC


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def fail(place: Path) -> None:
    place.write_text("half")
    raise RuntimeError("midway")


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "deep" / "a.txt") as draft:
        draft.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert names(tmp_path / "deep") == ["a.txt"]


@pytest.mark.parametrize("kind", [atomic_file, atomic_directory])
def test_a_failure_leaves_what_was_there(tmp_path: Path, kind: type) -> None:
    place = tmp_path / "a"
    with kind(place) as draft:
        (draft / "x" if kind is atomic_directory else draft).write_text("old")
    with pytest.raises(RuntimeError, match="midway"), kind(place) as draft:
        fail(draft / "x" if kind is atomic_directory else draft)
    assert (place / "x" if kind is atomic_directory else place).read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_the_one_of_an_earlier_try(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with atomic_directory(tmp_path / "a") as draft:
            (draft / name).touch()
    assert names(tmp_path / "a") == ["second"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755, "the next step may run as another user"


def write_bytes() -> None:
    with open(FULL, "wb", buffering=0) as full:
        full.write(b"x")


def write_tensors() -> None:
    # What safetensors said on a file system that was full; it renames its file, so FULL cannot show it.
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [write_bytes, write_tensors])
@pytest.mark.parametrize("kind", [atomic_file, atomic_directory])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, kind: type, write: object) -> None:
    assert callable(write)
    with pytest.raises(StorageError, match=r"the disk is full.*Free some space"), kind(tmp_path / "a"):
        write()
    assert names(tmp_path) == []


def test_no_permission_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="no permission to write here"),
        atomic_file(tmp_path / "a"),
    ):
        raise PermissionError(errno.EACCES, "refused")


@pytest.mark.parametrize("kind", [atomic_file, atomic_directory])
def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path, kind: type) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StorageError, match=r"file/a: a file is in place of a folder\. Choose another"),
        kind(tmp_path / "file" / "a"),
    ):
        pass


@pytest.mark.parametrize("kind", [atomic_file, atomic_directory])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path, kind: type) -> None:
    with pytest.raises(StorageError, match=r"a: the name is too long\."), kind(tmp_path / ("x" * 300) / "a"):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b'{"a": 1', "not valid JSON"), (b"\xff\xfe", "not valid JSON")],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=f"a.json: {message}"):
        read_json(file)


def test_json_holds_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, 2.5, "ä"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, "ä"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, "ä"]}


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
