"""Image folders, root/{train,test}/{class}/image: packed if the pixels fit in memory, else streamed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from netslim.data.folder_files import FolderFiles, find_files
from netslim.data.image_file import Header, brightest, decode, header
from netslim.data.images import ImageFiles, as_array, centre, in_threads
from netslim.data.info import Split
from netslim.data.raw import Source
from netslim.errors import DataError
from netslim.progress import bar

__all__ = ["load_folder", "load_imagenet"]

LIMIT = 4 << 30
"""Bytes of pixels above which a folder is streamed instead of packed."""

IMAGENET = {"train": 1_281_167, "test": 50_000}

DARK = 0.25  # the share of white that 14 bits reach in 16
SAMPLE = 64  # images of 16 bits that are decoded to look for the brightest value


def load_folder(root: Path, *, size: int | None = None) -> Source:
    """Read an image folder; without test/, val/ is the test set (the layout of ImageNet).

    Args:
        size: side to which every image is resized and cropped. Without it, all images must have one size.

    Raises:
        DataError: the layout is wrong (see `find_files`), or images cannot be decoded (see `decode`), differ
            in size, or have 16 bits of which they use only the lowest.
    """
    found = find_files(root)
    title = f"{root.absolute().name} (image folder)"
    headers = _headers(root, found)
    _check_depth(root, [path for path, one in headers.items() if one.deep])
    count = len(headers)
    if size is not None:
        shape, mode = (size, size), "RGB"
        if count * size * size * 3 > LIMIT:
            splits = {
                name: Split(ImageFiles(root.resolve(), tuple(paths), size), labels)
                for name, (paths, labels) in found.splits.items()
            }
            return Source(title, found.classes, "imagenet", splits)
    else:
        shape, mode = _common(root, headers)
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

        splits = {name: Split(pack(paths), labels) for name, (paths, labels) in found.splits.items()}
    return Source(title, found.classes, "pad4flip", splits)


def load_imagenet(root: Path, *, size: int | None = None) -> Source:
    """ImageNet from its unpacked image folder, by default at 224 pixels; its val/ is the test set.

    The title is "ImageNet subset" if the folder is not all of ILSVRC 2012.
    """
    source = load_folder(root, size=size or 224)
    complete = {name: len(split) for name, split in source.splits.items()} == IMAGENET
    title = "ImageNet" if complete and len(source.classes) == 1000 else f"ImageNet subset ({root.name})"
    return Source(title, source.classes, "imagenet", source.splits)


def _headers(root: Path, found: FolderFiles) -> dict[str, Header]:
    """The header of each image by its path. A wrong file is found here, not in the middle of a training."""
    paths = found.paths
    return dict(zip(paths, in_threads(lambda path: header(root / path), paths), strict=True))


def _common(root: Path, headers: dict[str, Header]) -> tuple[tuple[int, int], str]:
    """The one size (height, width) of all images, and "L" if all are grey, else "RGB"."""
    paths = list(headers)
    first = headers[paths[0]].size
    for path, (size, *_) in headers.items():
        if size != first:
            problem = (
                f"images differ in size: {paths[0]} is {first[0]} x {first[1]}, {path} {size[0]} x {size[1]}"
            )
            raise DataError(problem, field=str(root), remedy="Give a size to resize them all to")
    return first, "L" if all(one.grey for one in headers.values()) else "RGB"


def _check_depth(root: Path, deep: Sequence[str]) -> None:
    """Refuse images of a camera with 10 to 14 bits that are stored in 16: in 8 bits they would be black."""
    sample = deep[:: max(1, len(deep) // SAMPLE)][:SAMPLE]
    found = max(in_threads(lambda path: brightest(root / path), sample), default=1.0)
    if found < DARK:
        problem = (
            f"the images of 16 bits are dark: the largest of their values is {found * 65535:.0f} of 65535"
        )
        remedy = "Scale the values to 0 to 65535, or convert the images to 8 bits"
        raise DataError(problem, field=str(root), remedy=remedy)
