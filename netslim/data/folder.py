"""Image folders, root/{train,test}/{class}/image: packed if the pixels fit in memory, else streamed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netslim.data.images import ImageFiles, as_array, centre, decode, in_threads, kind
from netslim.data.info import Split
from netslim.data.raw import Source
from netslim.errors import DataError
from netslim.progress import bar

__all__ = ["load_folder", "load_imagenet"]

LIMIT = 4 << 30
"""Bytes of pixels above which a folder is streamed instead of packed."""

IMAGES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LAYOUT = "It should hold train/<class>/<image> and test/<class>/<image>"
IMAGENET = {"train": 1_281_167, "test": 50_000}


def load_folder(root: Path, *, size: int | None = None) -> Source:
    """Read an image folder; without test/, val/ is the test set (the layout of ImageNet).

    Args:
        size: side to which every image is resized and cropped. Without it, all images must have one size.

    Raises:
        DataError: the layout is wrong, a class has no training images, or images cannot be decoded or differ
            in size.
    """
    classes, files = _scan(root)
    count = sum(len(paths) for paths, _ in files.values())
    if size is not None:
        shape, mode = (size, size), "RGB"
        if count * size * size * 3 > LIMIT:
            splits = {
                name: Split(ImageFiles(root.resolve(), tuple(paths), size), labels)
                for name, (paths, labels) in files.items()
            }
            return Source(f"{root.name} (image folder)", classes, "imagenet", splits)
    else:
        shape, mode = _common(root, [path for paths, _ in files.values() for path in paths])
    channels = 1 if mode == "L" else 3
    nbytes = count * shape[0] * shape[1] * channels
    if nbytes > LIMIT:
        problem = (
            f"{count:,} images of {shape[0]} x {shape[1]} do not fit in memory ({nbytes / 2**30:.1f} GiB)"
        )
        raise DataError(problem, field=str(root), remedy="Give a size: then they are streamed, at that size")
    with bar(f"read {root.name}", count) as progress:

        def pack(paths: Sequence[str]) -> NDArray[np.uint8]:
            def one(index: int) -> None:
                image = decode(root / paths[index], mode)
                packed[index] = as_array(image) if size is None else centre(image, size)
                progress.advance()

            packed = np.empty((len(paths), *shape, channels), np.uint8)
            in_threads(one, range(len(paths)))
            return packed

        splits = {name: Split(pack(paths), labels) for name, (paths, labels) in files.items()}
    return Source(f"{root.name} (image folder)", classes, "pad4flip", splits)


def load_imagenet(root: Path, *, size: int | None = None) -> Source:
    """ImageNet from its unpacked image folder, by default at 224 pixels; its val/ is the test set.

    The title is "ImageNet subset" if the folder is not all of ILSVRC 2012.
    """
    source = load_folder(root, size=size or 224)
    complete = {name: len(split) for name, split in source.splits.items()} == IMAGENET
    title = "ImageNet" if complete and len(source.classes) == 1000 else f"ImageNet subset ({root.name})"
    return Source(title, source.classes, "imagenet", source.splits)


def _scan(root: Path) -> tuple[tuple[str, ...], dict[str, tuple[list[str], NDArray[np.int64]]]]:
    """The classes, and for each split the paths of its images and their labels."""
    if not root.is_dir():
        raise DataError("no such folder", field="data root", value=str(root), remedy=LAYOUT)
    folders = {name: root / name for name in ("train", "val", "test") if (root / name).is_dir()}
    if "test" not in folders and "val" in folders:
        folders["test"] = folders.pop("val")
    missing = {"train", "test"} - folders.keys()
    if missing:
        problem = f"has no folder {' and no folder '.join(sorted(missing))}"
        raise DataError(problem, field="data root", value=str(root), remedy=LAYOUT)
    classes = tuple(sorted(entry.name for entry in folders["train"].iterdir() if entry.is_dir()))
    if not classes:
        raise DataError("has no folders of classes", field=str(folders["train"]), remedy=LAYOUT)
    files = {}
    for name, folder in folders.items():
        unknown = {entry.name for entry in folder.iterdir() if entry.is_dir()} - set(classes)
        if unknown:
            problem = f"has class {min(unknown)}, which train/ does not have"
            raise DataError(problem, field=str(folder), remedy="Each class needs training images")
        by_class = [_images(root, folder / label) for label in classes]
        paths = [path for paths_of_class in by_class for path in paths_of_class]
        labels = np.repeat(np.arange(len(classes)), [len(paths_of_class) for paths_of_class in by_class])
        files[name] = (paths, labels.astype(np.int64))
    return classes, files


def _images(root: Path, folder: Path) -> list[str]:
    """Paths of the images below `folder`, relative to `root`, sorted."""
    paths: list[str] = []
    for parent, _, files in os.walk(folder, followlinks=True):
        relative = Path(parent).relative_to(root).as_posix()
        paths += [f"{relative}/{file}" for file in files if Path(file).suffix.lower() in IMAGES]
    return sorted(paths)


def _common(root: Path, paths: Sequence[str]) -> tuple[tuple[int, int], str]:
    """The one size (height, width) of all images, and "L" if all are grey, else "RGB"."""
    if not paths:
        raise DataError("has no images", field=str(root), remedy=LAYOUT)
    kinds = in_threads(lambda path: kind(root / path), paths)
    first, _ = kinds[0]
    for path, (size, _) in zip(paths, kinds, strict=True):
        if size != first:
            problem = (
                f"images differ in size: {paths[0]} is {first[0]} x {first[1]}, {path} {size[0]} x {size[1]}"
            )
            raise DataError(problem, field=str(root), remedy="Give a size to resize them all to")
    return first, "L" if all(grey for _, grey in kinds) else "RGB"
