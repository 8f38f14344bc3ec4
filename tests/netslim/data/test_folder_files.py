"""The files of an image folder: each image once, in its class, and nothing wrong taken without a message."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from netslim.data.folder_files import find_files
from netslim.errors import DataError

Make = Callable[..., Path]
Spoil = Callable[[Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """{train,test}/{cat,dog}/{0,1}.png; the search reads names only."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            folder = tmp_path / "pets" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                (folder / f"{number}.png").write_bytes(b"x")
    return tmp_path / "pets"


def add(*names: str) -> Spoil:
    def write(root: Path) -> None:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")

    return write


def link(name: str, target: str) -> Spoil:
    return lambda root: (root / name).symlink_to(root / target)


def test_the_images_of_each_class_are_listed_with_their_labels(root: Path) -> None:
    found = find_files(root)
    assert found.classes == ("cat", "dog")
    assert list(found.splits) == ["train", "test"]
    paths, labels = found.splits["train"]
    assert paths == [f"train/{label}/{n}.png" for label in ("cat", "dog") for n in range(2)]
    assert labels.tolist() == [0, 0, 1, 1]
    assert len(found.paths) == 8


@pytest.mark.parametrize(
    ("change", "images"),
    [
        (lambda root: (root / "train/.ipynb_checkpoints").mkdir(), 4),
        (add("train/.ipynb_checkpoints/0.png", "test/.ipynb_checkpoints/0.png"), 4),
        (add("train/cat/.ipynb_checkpoints/0-checkpoint.png"), 4),
        (add("train/cat/._0.png", "train/._x.png", "train/.DS_Store", "train/cat/Thumbs.db"), 4),
        (add("train/__MACOSX/cat/._0.png", "train/cat/@eaDir/0.png/SYNOPHOTO_THUMB_XL.jpg"), 4),
        (add("train/labels.csv", "train/cat/readme.txt", "notes.png"), 4),
        (add("train/cat/2.PNG", "train/cat/3.JPeG", "train/cat/4.jfif", "train/dog/5.gif"), 8),
        (add("train/cat/deep/er/2.png"), 5),
        (link("train/cat/2.png", "train/cat/0.png"), 5),
        (lambda root: shutil.move(root / "test", root / "val"), 4),
        (add("elsewhere/0.png", "elsewhere/1.png"), 4),
    ],
)
def test_what_systems_and_people_leave_beside_images(root: Path, change: Spoil, images: int) -> None:
    change(root)
    found = find_files(root)
    assert found.classes == ("cat", "dog")
    assert len(found.splits["train"][0]) == images


def test_a_linked_folder_of_images_is_read(root: Path, tmp_path: Path) -> None:
    shutil.move(root / "train/cat", tmp_path / "elsewhere")
    (root / "train/cat").symlink_to(tmp_path / "elsewhere")
    assert find_files(root).splits["train"][0][:2] == ["train/cat/0.png", "train/cat/1.png"]


def rename(old: str, new: str | bytes) -> Spoil:
    return lambda root: (root / old).rename(root / os.fsdecode(new))


def without_dogs(root: Path) -> None:
    for split in ("train", "test"):
        shutil.rmtree(root / split / "dog")


def fifo(root: Path) -> None:
    os.mkfifo(root / "train/cat/2.png")


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link("train/cat/loop", "train/cat"), r"cat/loop: leads to .*train/cat, whose images are used alr"),
        (link("train/cat/up", "."), r"leads to .*pets/train\S*, whose images are used already"),
        (link("train/fox", "train/cat"), r"(fox|cat): leads to .*train/(cat|fox), whose"),
        (link("val", "test"), r"(val|test): leads to .*pets/(test|val), whose images are used already"),
        (without_dogs, "only one class, cat"),
        (lambda root: shutil.rmtree(root / "test/dog"), "test: no test images of class dog. Add images"),
        (lambda root: shutil.rmtree(root / "train/dog"), "test: has class dog, which train/ does not have"),
        (
            lambda root: [f.unlink() for f in (root / "train/dog").iterdir()],
            "no training images of class dog",
        ),
        (lambda root: [f.unlink() for f in (root / "test").rglob("*.png")], "test: has no images"),
        (add("val/cat/0.png"), "val: no val images of class dog"),
        (add("train/Cat/0.png", "test/Cat/0.png"), "classes Cat and cat differ only in case"),
        (add(f"train/{COMPOSED}/0.png", f"train/{DECOMPOSED}/0.png"), "differ only in case or in the form"),
        (rename("test/dog", "test/Dog"), "has class Dog, which train/ does not.*as in train/: dog"),
        (rename("train/dog", b"train/d\xffg"), r"train/d\\xffg: the name is not valid UTF-8. Rename it"),
        (rename("train/dog/0.png", b"train/dog/\xe9.png"), r"dog/\\xe9\.png: the name is not valid UTF-8"),
        (rename("train/dog", "train/d\x1b[31mg"), r"train/d\\x1b\[31mg.*cannot be shown"),
        (add("train/3.png"), r"train/3\.png: the image is in no class"),
        (add("test/ILSVRC2012_val_00000001.JPEG"), "the image is in no class"),
        (add("train/cat/2.HEIC"), r"train/cat/2\.HEIC: netslim does not read \.heic images. Convert it"),
        (add("train/cat/scan.dcm"), r"does not read \.dcm images"),
        (link("train/cat/2.png", "nowhere"), r"2\.png: cannot be read .*a link to a file that does not"),
        (fifo, r"2\.png: is not a regular file"),
    ],
)
def test_what_would_spoil_a_dataset_is_refused_by_name(root: Path, spoil: Spoil, message: str) -> None:
    spoil(root)
    with pytest.raises(DataError, match=message) as caught:
        find_files(root)
    str(caught.value).encode()  # can be printed


def touch(root: Path) -> None:
    file = root / "train/cat/0.png"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda root: (root / "train/cat/0.png").unlink(), True),
        (lambda root: (root / "test/cat/0.png").unlink(), True),
        (lambda root: (root / "test/cat/0.png").write_bytes(b"longer"), True),
        (touch, True),
        (rename("train/cat/0.png", "train/cat/7.png"), True),
        (rename("train/cat/0.png", "train/dog/7.png"), True),
        (add("train/cat/2.png"), True),
        (add("train/cat/.hidden.png", "train/notes.txt", "README.md"), False),
        (lambda root: os.utime(root / "train/cat"), False),
    ],
)
def test_the_identity_follows_the_images_only(root: Path, change: Spoil, changes: bool) -> None:
    before = find_files(root).identity
    assert find_files(root).identity == before
    change(root)
    assert (find_files(root).identity != before) is changes


def test_the_identity_does_not_depend_on_where_the_folder_is(root: Path, tmp_path: Path) -> None:
    before = find_files(root).identity
    shutil.move(root, tmp_path / "elsewhere")
    assert find_files(tmp_path / "elsewhere").identity == before


def test_a_link_has_the_identity_of_its_file(root: Path) -> None:
    link("train/cat/2.png", "test/cat/0.png")(root)
    before = find_files(root).identity
    (root / "test/cat/0.png").write_bytes(b"longer")
    after = find_files(root).identity
    (root / "train/cat/2.png").unlink()
    add("train/cat/2.png")(root)
    assert len({before, after, find_files(root).identity}) == 3
