"""Find the images of a folder by class. What would spoil a dataset without a sign is refused by its name."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netslim.errors import DataError

__all__ = ["LAYOUT", "FolderFiles", "find_files"]

LAYOUT = "It should hold train/<class>/<image> and test/<class>/<image>"

IMAGES = {
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
}
OTHER_IMAGES = {
    *(".avif", ".cr2", ".dcm", ".dng", ".eps", ".exr", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jp2"),
    *(".jpx", ".jxl", ".nef", ".nii", ".npy", ".pfm", ".psd", ".raw", ".svg", ".tga"),
}
"""Suffixes of images that netslim does not read. They are refused, because a class would lose images."""

# Folders that systems make beside a user's own: previews and deleted files. Hidden ones begin with a dot.
SYSTEM_FOLDERS = {"$RECYCLE.BIN", "@eaDir", "System Volume Information", "__MACOSX", "lost+found"}


@dataclass(frozen=True)
class FolderFiles:
    """The images of an image folder.

    Args:
        classes: the names of the classes, sorted; label k is the k-th.
        splits: for "train", "test" and perhaps "val" the paths, relative to the folder, and the labels
            int64[n].
        identity: changes when an image is added, removed, renamed or written: SHA-256 over the paths, sizes
            and times of modification of all images.
    """

    classes: tuple[str, ...]
    splits: dict[str, tuple[list[str], NDArray[np.int64]]]
    identity: str

    @property
    def paths(self) -> list[str]:
        """The paths of all images."""
        return [path for paths, _ in self.splits.values() for path in paths]


def find_files(root: Path) -> FolderFiles:
    """Find the images of a folder; without test/, val/ is the test set (the layout of ImageNet).

    Hidden files and folders, those of the system, and files that are not images are left out. Links to files
    and folders are followed.

    Raises:
        DataError: the layout is wrong, there is only one class, a class has no images in a split, a name is
            not UTF-8, or a link leads to a folder that is read already.
    """
    if not root.is_dir():
        raise DataError("no such folder", field="data root", value=_printable(root), remedy=LAYOUT)
    _check_name(root)
    search = _Search(root)
    folders = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if "test" not in folders and "val" in folders:
        folders["test"] = folders.pop("val")
    missing = {"train", "test"} - folders.keys()
    if missing:
        problem = f"has no folder {' and no folder '.join(sorted(missing))}"
        raise DataError(problem, field="data root", value=str(root), remedy=LAYOUT)
    by_split = {name: search.classes(folder) for name, folder in folders.items()}
    classes = tuple(sorted(by_split["train"]))
    _check_classes(classes, folders["train"])
    splits = {}
    for name, found in by_split.items():
        _check_split(classes, found, folders[name])
        paths = [path for label in classes for path in found[label]]
        labels = np.repeat(np.arange(len(classes)), [len(found[label]) for label in classes])
        splits[name] = (paths, labels.astype(np.int64))
    if len(classes) == 1:
        problem = f"has only one class, {classes[0]}"
        remedy = "Add a second class: with one, every network is always right"
        raise DataError(problem, field=str(folders["train"]), remedy=remedy)
    return FolderFiles(classes, splits, search.identity())


class _Search:
    """Reads the folders below `root`, each of them once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[tuple[int, int], Path] = {}
        self._versions: dict[str, tuple[int, int]] = {}

    def classes(self, folder: Path) -> dict[str, list[str]]:
        """The sorted paths of the images of each class, relative to the root."""
        result = {}
        for entry in self._entries(folder):
            if entry.is_dir():
                if not entry.name.isprintable():
                    problem = "the name of a class has characters that cannot be shown"
                    raise DataError(problem, field=ascii(entry.path), remedy="Rename the folder")
                result[entry.name] = sorted(self._images(Path(entry.path)))
            elif Path(entry.name).suffix.lower() in IMAGES:
                raise DataError("the image is in no class", field=entry.path, remedy=LAYOUT)
        return result

    def identity(self) -> str:
        lines = (f"{path}\0{size}\0{modified}\n" for path, (size, modified) in sorted(self._versions.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _images(self, folder: Path) -> Iterator[str]:
        for entry in self._entries(folder):
            suffix = Path(entry.name).suffix.lower()
            if entry.is_dir():
                yield from self._images(Path(entry.path))
            elif suffix in OTHER_IMAGES:
                remedy = "Convert it to PNG or JPEG, or remove it"
                raise DataError(f"netslim does not read {suffix} images", field=entry.path, remedy=remedy)
            elif suffix in IMAGES:
                path = Path(entry.path).relative_to(self.root).as_posix()
                self._versions[path] = _version(entry)
                yield path

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder, without hidden files and those of the system."""
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", field=str(folder)) from error
        earlier = self._folders.setdefault((status.st_dev, status.st_ino), folder)
        if earlier != folder:
            problem = f"leads to {earlier}, whose images are used already"
            raise DataError(problem, field=str(folder), remedy="Remove the link")
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in shown:
            _check_name(Path(entry.path))
        return [entry for entry in shown if entry.name not in SYSTEM_FOLDERS]


def _version(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Size in bytes, and nanoseconds of the last modification, of the file itself, not of a link to it."""
    try:
        status = entry.stat()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        remedy = "It is a link to a file that does not exist" if entry.is_symlink() else None
        raise DataError(problem, field=entry.path, remedy=remedy) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError("is not a regular file", field=entry.path, remedy="Remove it")
    return status.st_size, status.st_mtime_ns


def _check_classes(classes: tuple[str, ...], folder: Path) -> None:
    if not classes:
        raise DataError("has no folders of classes", field=str(folder), remedy=LAYOUT)
    same: dict[str, str] = {}
    for label in classes:
        other = same.setdefault(_key(label), label)
        if other != label:
            problem = f"classes {other} and {label} differ only in case or in the form of their letters"
            raise DataError(problem, field=str(folder), remedy="Rename one, or put their images together")


def _check_split(classes: tuple[str, ...], found: dict[str, list[str]], folder: Path) -> None:
    unknown = sorted(found.keys() - set(classes))
    if unknown:
        close = [label for label in classes if _key(label) == _key(unknown[0])]
        remedy = f"Rename it as in train/: {close[0]}" if close else "Each class needs training images"
        raise DataError(
            f"has class {unknown[0]}, which train/ does not have", field=str(folder), remedy=remedy
        )
    empty = [label for label in classes if not found.get(label)]
    if len(empty) == len(classes):
        raise DataError("has no images", field=str(folder), remedy=LAYOUT)
    if empty:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        kind = {"train": "training"}.get(folder.name, folder.name)
        remedy = "Add images, or remove the class from all folders"
        raise DataError(f"no {kind} images of class {shown}", field=str(folder), remedy=remedy)


def _key(label: str) -> str:
    return unicodedata.normalize("NFC", label).casefold()


def _check_name(path: Path) -> None:
    """Names go into JSON files, which are UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        problem = "the name is not valid UTF-8"
        remedy = "Rename it; convmv renames many files at once"
        raise DataError(problem, field=_printable(path), remedy=remedy) from error


def _printable(path: Path) -> str:
    r"""The path with `\xff` for a byte that is not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")
