"""The packed dataset on disk: dataset.json and one file per split, each with its SHA-256.

    dataset.json            DatasetInfo
    train.safetensors       images uint8[n, height, width, channels], labels int64[n]
    val.safetensors         only where validation images were drawn
    test.safetensors

In folder mode a split is a list of image files instead: train.jsonl, one [label, path] per line.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netslim.data.images import ImageFiles
from netslim.data.info import DatasetInfo, Split
from netslim.errors import DataError
from netslim.storage.atomic import read_json, sha256, write_json
from netslim.storage.digests import check_digests

__all__ = ["PackedDataset", "open_dataset", "write_info", "write_split"]

FORMAT = "netslim dataset 1"
REMEDY = "Prepare the dataset again"
SUFFIX = {"packed": ".safetensors", "folder": ".jsonl"}


@dataclass(frozen=True)
class PackedDataset:
    """A dataset that `prepare` wrote. A split is read and checked at its first use, then kept in memory."""

    directory: Path
    info: DatasetInfo
    _splits: dict[str, Split] = field(default_factory=dict, init=False, repr=False, compare=False)

    def split(self, name: str) -> Split:
        """The images and labels of "train", "val" or "test".

        Later calls return the same arrays, which must not be changed.

        Raises:
            DataError: there is no such split, or its file is missing, truncated or altered.
        """
        if name not in self._splits:
            self._splits[name] = self._read(name)
        return self._splits[name]

    def _read(self, name: str) -> Split:
        if name not in self.info.sizes:
            remedy = f"It has {', '.join(self.info.sizes)}" + (
                "; prepare it with validation images" if name == "val" else ""
            )
            raise DataError("the dataset has no such split", field="split", value=name, remedy=remedy)
        file = self.directory / f"{name}{SUFFIX[self.info.mode]}"
        if not file.is_file():
            raise DataError("no such file", field=str(file), remedy=REMEDY)
        if sha256(file) != self.info.sha256[name]:
            problem = "truncated or altered: its SHA-256 is not the one in dataset.json"
            raise DataError(problem, field=str(file), remedy=REMEDY)
        folder_mode = self.info.mode == "folder"
        split = _read_list(file, self.directory, self.info) if folder_mode else _read_arrays(file)
        if split.images.shape != (self.info.sizes[name], *self.info.image_size, self.info.channels):
            problem = f"holds images of shape {split.images.shape}, not what dataset.json says"
            raise DataError(problem, field=str(file), remedy=REMEDY)
        return split


def open_dataset(directory: str | os.PathLike[str]) -> PackedDataset:
    """Open a dataset that `prepare` wrote; reads dataset.json only.

    Raises:
        DataError: it is not a dataset, it was altered, or it is one of another version of netslim.
    """
    folder = Path(directory)
    check_digests(folder, "dataset.json")
    value: Any = read_json(folder / "dataset.json")
    name = value.get("format") if isinstance(value, dict) else None
    if name != FORMAT:
        problem = f"not a dataset of this version of netslim ({name!r}, not {FORMAT!r})"
        raise DataError(problem, field=str(folder / "dataset.json"), remedy=REMEDY)
    return PackedDataset(folder, DatasetInfo.from_json(value))


def write_info(directory: Path, info: DatasetInfo) -> None:
    """Write dataset.json."""
    write_json(directory / "dataset.json", {"format": FORMAT} | info.to_json())


def write_split(directory: Path, name: str, split: Split) -> str:
    """Write one split beside dataset.json, and return its file's SHA-256."""
    if isinstance(split.images, ImageFiles):
        file = directory / f"{name}{SUFFIX['folder']}"
        with file.open("w", encoding="utf-8") as stream:
            for label, path in zip(split.labels.tolist(), split.images.paths, strict=True):
                stream.write(json.dumps([label, path], ensure_ascii=False) + "\n")
    else:
        from safetensors.numpy import save_file

        file = directory / f"{name}{SUFFIX['packed']}"
        images, labels = np.ascontiguousarray(split.images), np.ascontiguousarray(split.labels)
        save_file({"images": images, "labels": labels}, file)
    return sha256(file)


def _read_arrays(file: Path) -> Split:
    from safetensors.numpy import load_file

    arrays = load_file(file)
    return Split(arrays["images"], arrays["labels"])


def _read_list(file: Path, directory: Path, info: DatasetInfo) -> Split:
    root = directory / info.root  # an absolute root is not changed by this
    if not root.is_dir():
        remedy = "Mount the volume with the images at this path in every step, or prepare the dataset again"
        raise DataError("the folder of the images does not exist", field=str(root), remedy=remedy)
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    labels = np.array([label for label, _ in lines], dtype=np.int64)
    return Split(ImageFiles(root, tuple(path for _, path in lines), info.image_size[0]), labels)
