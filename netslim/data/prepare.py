"""Prepare a dataset: fetch it, check it, draw validation images, compute its statistics, and pack it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from netslim.data import digits, folder, torchvision_sets
from netslim.data.image_file import MAX_SIDE
from netslim.data.images import ImageFiles
from netslim.data.info import DatasetInfo
from netslim.data.packed import write_info, write_split
from netslim.data.raw import Source, check
from netslim.data.statistics import channel_statistics
from netslim.data.validation import draw_validation
from netslim.errors import ConfigError, did_you_mean
from netslim.storage import s3
from netslim.storage.atomic import atomic_directory
from netslim.storage.digests import write_digests

__all__ = ["PAPER_VALIDATION", "names", "prepare"]

PAPER_VALIDATION = {"cifar10": 5000, "svhn": 6000}
"""The number of training images that the paper uses for validation (section 4.1)."""

FOLDERS = {"folder": folder.load_folder, "imagenet": folder.load_imagenet}
INSIDE = "images"


def names() -> list[str]:
    """The names that `prepare` accepts, sorted."""
    return sorted(["digits", *torchvision_sets.OFFICIAL, *FOLDERS])


def prepare(
    name: str,
    directory: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    validation: int = 0,
    seed: int = 0,
    size: int | None = None,
    title: str | None = None,
) -> DatasetInfo:
    """Write the packed dataset `directory`; it appears complete or not at all.

    Args:
        name: one of `names()`. "digits" comes with scikit-learn and needs no root.
        root: the folder or s3:// address with the original files or the images. It is only read.
        download: fetch missing original files from their publisher, into `root` if one is given.
        validation: number of training images for validation, drawn with `seed`, in proportion to the classes.
        size: image folders only: the side in pixels to which every image is resized and cropped.
        title: the dataset's name in tables, if the usual one would not be exact.

    Raises:
        ConfigError: an option is wrong.
        DataError: files are missing, truncated or altered, or they are not a usable dataset.
        StorageError: the disk or the object store refused an operation.
    """
    _check_options(name, root, download, validation, seed, size)
    final = Path(directory)
    with atomic_directory(final) as draft, tempfile.TemporaryDirectory(prefix="netslim-") as scratch:
        source = _load(name, root, download, size, draft, Path(scratch))
        check(source)
        splits = dict(source.splits)
        if validation:
            if "val" in splits:
                remedy = "Leave validation at 0, or remove that folder"
                raise ConfigError(
                    "the images come with val/", field="validation", value=validation, remedy=remedy
                )
            splits["train"], splits["val"] = draw_validation(splits["train"], validation, seed)
            check(Source(source.title, source.classes, source.augment, splits))
        splits = {part: splits[part] for part in ("train", "val", "test") if part in splits}
        images = splits["train"].images
        mean, std = channel_statistics(splits["train"], seed)
        info = DatasetInfo(
            name=name,
            title=title or source.title,
            classes=source.classes,
            image_size=(images.shape[1], images.shape[2]),
            channels=images.shape[3],
            mean=mean,
            std=std,
            sizes={part: len(split) for part, split in splits.items()},
            augment=source.augment,
            sha256={part: write_split(draft, part, split) for part, split in splits.items()},
            seed=seed,
            mode="folder" if isinstance(images, ImageFiles) else "packed",
            root=_streamed_from(source, draft),
        )
        write_info(draft, info)
        write_digests(draft)
    return info


def _check_options(
    name: str, root: object, download: bool, validation: int, seed: int, size: int | None
) -> None:
    if name not in names():
        remedy = did_you_mean(name, names())
        raise ConfigError("no such dataset", field="dataset", value=name, remedy=remedy)
    if validation < 0:
        raise ConfigError("must not be negative", field="validation", value=validation)
    if not 0 <= seed < 2**32:
        raise ConfigError("must be between 0 and 2^32 - 1", field="seed", value=seed)
    if size is not None and (name not in FOLDERS or size < 1):
        problem = "must be positive" if name in FOLDERS else f"the images of {name} have their size already"
        raise ConfigError(problem, field="size", value=size)
    if size is not None and size > MAX_SIDE:
        raise ConfigError(f"must be at most {MAX_SIDE} pixels", field="size", value=size)
    if download and name in FOLDERS:
        raise ConfigError("cannot be downloaded", field="dataset", value=name, remedy="Give the data root")
    if download and root is not None and s3.is_s3(str(root)):
        remedy = "Download into a folder first, and upload that"
        raise ConfigError("a download cannot go there", field="data root", value=str(root), remedy=remedy)
    if root is None and name != "digits" and not download:
        ask = ", or ask for the download" if name in torchvision_sets.OFFICIAL else ""
        remedy = f"Give the folder or the s3:// address of its files{ask}"
        raise ConfigError(f"{name} needs one", field="data root", remedy=remedy)


def _load(
    name: str,
    root: str | os.PathLike[str] | None,
    download: bool,
    size: int | None,
    draft: Path,
    scratch: Path,
) -> Source:
    if name == "digits":
        return digits.load()
    address = str(root) if root is not None and s3.is_s3(str(root)) else None
    if name in FOLDERS:
        if address is None:
            return FOLDERS[name](Path(root or ""), size=size)
        images = draft / INSIDE / PurePosixPath(address).name  # kept only if images are streamed from it
        s3.download_tree(address, images)
        return FOLDERS[name](images, size=size)
    originals = Path(root) if root is not None else scratch / "downloaded"
    if address is not None:
        originals = scratch / "fetched"
        wanted = torchvision_sets.wanted_files(name)
        s3.download_tree(address, originals, only=lambda relative: PurePosixPath(relative).name in wanted)
    elif download:
        originals.mkdir(parents=True, exist_ok=True)
    return torchvision_sets.load(name, originals, download=download, scratch=scratch / "unpacked")


def _streamed_from(source: Source, draft: Path) -> str:
    """The folder of streamed images, relative if it is inside the dataset's folder; "" for packed images."""
    images = source.splits["train"].images
    if not isinstance(images, ImageFiles):
        shutil.rmtree(draft / INSIDE, ignore_errors=True)
        return ""
    inside = images.root.is_relative_to(draft.resolve())
    return str(images.root.relative_to(draft.resolve()) if inside else images.root)
