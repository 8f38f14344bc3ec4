"""MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN, read by torchvision's own classes.

Only the publisher's original files are read, because only their checksums are published. No file is read, and
in particular none is unpickled, before its checksum was verified. The root may be read-only: archives are
unpacked into another folder.
"""

from __future__ import annotations

import errno
import gzip
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netslim.data.info import Split
from netslim.data.raw import Source
from netslim.errors import DataError

__all__ = ["OFFICIAL", "load", "wanted_files"]

PAUSES = (5.0, 20.0)
"""Seconds before the second and the third try of a download."""
NOT_THE_NETWORK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR)
"""Errors of the disk, after which no further try is made."""


@dataclass(frozen=True)
class Official:
    """One dataset of torchvision, and the function that reads it."""

    title: str
    augment: str
    torchvision: str
    """The class in torchvision.datasets, which has the addresses, file names and checksums."""
    read: Callable[[Any, Path, bool, Path], tuple[Split, Split, Sequence[str]]]


def load(name: str, root: Path, *, download: bool, scratch: Path) -> Source:
    """Read the original files below `root`, in torchvision's layout or directly in `root`.

    Args:
        download: fetch missing files into `root`.
        scratch: an empty or missing folder, for unpacked archives.

    Raises:
        DataError: a file is missing, truncated or altered, or cannot be downloaded.
    """
    import torchvision.datasets

    kind = OFFICIAL[name]
    if not root.is_dir():
        raise DataError(
            "no such folder", field="data root", value=str(root), remedy=f"It should hold {kind.title}"
        )
    train, test, classes = kind.read(getattr(torchvision.datasets, kind.torchvision), root, download, scratch)
    return Source(kind.title, tuple(classes), kind.augment, {"train": train, "test": test})


def wanted_files(name: str) -> set[str]:
    """The names of the original files, without folders; only these are downloaded from an object store."""
    import torchvision.datasets

    cls = getattr(torchvision.datasets, OFFICIAL[name].torchvision)
    if OFFICIAL[name].read is _read_cifar:
        return {cls.filename, *(Path(file).name for file, _ in _batches(cls))}
    return {file for file, _ in (cls.resources if OFFICIAL[name].read is _read_idx else _matrices(cls))}


def _read_idx(cls: Any, root: Path, download: bool, scratch: Path) -> tuple[Split, Split, Sequence[str]]:
    folders = [root / cls.__name__ / "raw", root / "raw", root]
    holder = next((f for f in folders if any((f / file).is_file() for file, _ in cls.resources)), folders[0])
    if download and holder == folders[0]:  # torchvision downloads to there
        _download(lambda: cls(root, download=True), root)
    _verify(holder, cls.resources)
    raw = scratch / cls.__name__ / "raw"
    raw.mkdir(parents=True)
    for file, _ in cls.resources:
        with gzip.open(holder / file) as packed, open(raw / file.removesuffix(".gz"), "wb") as plain:
            shutil.copyfileobj(packed, plain)

    def split(train: bool) -> Split:
        part = cls(scratch, train=train)
        return Split(part.data.numpy()[..., None], part.targets.numpy().astype(np.int64))

    return split(True), split(False), [label.partition(" - ")[0] for label in cls.classes]  # "0 - zero"


def _read_cifar(cls: Any, root: Path, download: bool, scratch: Path) -> tuple[Split, Split, Sequence[str]]:
    archive = root / cls.filename
    if download:
        _download(lambda: cls(root, download=True), root)
    if not (root / cls.base_folder).is_dir() and archive.is_file():
        _verify(root, [(cls.filename, cls.tgz_md5)])
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        root = scratch
    _verify(root, _batches(cls), instead=cls.filename)

    def split(part: Any) -> Split:
        return Split(part.data, np.array(part.targets, dtype=np.int64))

    train = cls(root, train=True)
    return split(train), split(cls(root, train=False)), train.classes


def _read_svhn(cls: Any, root: Path, download: bool, scratch: Path) -> tuple[Split, Split, Sequence[str]]:
    if download:
        _download(lambda: [cls(root, split=name, download=True) for name in cls.split_list], root)
    _verify(root, _matrices(cls))

    def split(*names: str) -> Split:
        parts = [cls(root, split=name) for name in names]
        images = np.concatenate([part.data for part in parts]).transpose(0, 2, 3, 1)  # torchvision's is NCHW
        return Split(images, np.concatenate([part.labels for part in parts]).astype(np.int64))

    return split("train", "extra"), split("test"), [str(digit) for digit in range(10)]


def _batches(cls: Any) -> list[tuple[str, str]]:
    files = [*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])]
    return [(f"{cls.base_folder}/{file}", md5) for file, md5 in files]


def _matrices(cls: Any) -> list[tuple[str, str]]:
    return [(file, md5) for _, file, md5 in cls.split_list.values()]


def _download(start: Callable[[], object], root: Path) -> None:
    """Call `start`, which downloads what is missing, and call it again after a pause while the network fails.

    A backend does not try a step again that failed by itself, so it is done here.
    """
    for pause in (*PAUSES, None):
        try:
            start()
            return
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            if pause is None or getattr(error, "errno", None) in NOT_THE_NETWORK:
                remedy = (
                    "Check the network and that the folder can be written, or put the files there by hand"
                )
                raise DataError(f"the download failed ({reason})", field=str(root), remedy=remedy) from error
            print(
                f"netslim: the download failed ({reason}); again in {pause:g} s", file=sys.stderr, flush=True
            )
            time.sleep(pause)


def _verify(folder: Path, files: Sequence[tuple[str, str]], instead: str = "") -> None:
    from torchvision.datasets.utils import check_integrity

    missing = [file for file, _ in files if not (folder / file).is_file()]
    if missing:
        remedy = f"Put {'the archive ' + instead if instead else 'it'} there, or ask for the download"
        problem = f"the original file {missing[0]} is missing"
        raise DataError(problem, field="data root", value=str(folder), remedy=remedy)
    for file, md5 in files:
        if not check_integrity(str(folder / file), md5):
            problem = f"truncated or altered: its MD5 is not the published {md5}"
            raise DataError(problem, field=str(folder / file), remedy="Remove it and fetch it again")


OFFICIAL = {
    "mnist": Official("MNIST", "none", "MNIST", _read_idx),
    "fashion-mnist": Official("Fashion-MNIST", "none", "FashionMNIST", _read_idx),
    "cifar10": Official("CIFAR-10", "pad4flip", "CIFAR10", _read_cifar),
    "cifar100": Official("CIFAR-100", "pad4flip", "CIFAR100", _read_cifar),
    "svhn": Official("SVHN (train + extra)", "none", "SVHN", _read_svhn),
}
