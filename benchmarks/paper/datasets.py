"""The data of the experiments: packed once into the work folder, then held in memory."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from netslim import data
from netslim.data import DatasetInfo, Split
from netslim.data.validation import draw_validation
from netslim.errors import DataError

__all__ = ["Dataset", "find", "held_out", "part"]


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory, with the part of the interface of `PackedDataset` that training uses."""

    info: DatasetInfo
    splits: Mapping[str, Split]

    def split(self, name: str) -> Split:
        return self.splits[name]

    @property
    def title(self) -> str:
        return self.info.title


def find(name: str, root: Path, work: Path) -> Dataset:
    """The dataset `name` (mnist, cifar10, cifar100, svhn) from the files in `root`.

    If CIFAR-10 is missing, an image folder cifar10_jpeg/ or its .tar.gz is used instead; its title says so.

    Raises:
        DataError: `root` does not contain it.
    """
    packed = work / "data" / name
    if not packed.exists():
        _prepare(name, root, packed)
    opened = data.open_dataset(packed)
    return Dataset(opened.info, {split: opened.split(split) for split in opened.info.sizes})


def held_out(dataset: Dataset, count: int) -> Dataset:
    """For choosing settings: `count` training images replace the test set, which is left out."""
    train, validation = draw_validation(dataset.split("train"), count, seed=0)
    return _view(dataset, f"{count:,} of its training images held out", train, validation)


def part(dataset: Dataset, count: int) -> Dataset:
    """`count` of the training images, each class in proportion; the whole test set."""
    if count >= len(dataset.split("train")):
        return dataset
    _, train = draw_validation(dataset.split("train"), count, seed=0)
    return _view(dataset, f"{count:,} of its training images", train, dataset.split("test"))


def _view(dataset: Dataset, words: str, train: Split, test: Split) -> Dataset:
    info = replace(
        dataset.info,
        title=f"{dataset.title}, {words}",
        sizes={"train": len(train), "test": len(test)},
        sha256={**dataset.info.sha256, "view": words},
    )
    return Dataset(info, {"train": train, "test": test})


def _prepare(name: str, root: Path, packed: Path) -> None:
    copy = root / "cifar10_jpeg"
    if name == "mnist" and (root / "mnist").is_dir():
        # torchvision expects the four files in MNIST/raw.
        raw = packed.parent / "originals" / "MNIST" / "raw"
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.unlink(missing_ok=True)
        raw.symlink_to((root / "mnist").resolve())
        data.prepare(name, packed, root=raw.parents[1])
    elif name == "cifar10" and (copy.is_dir() or copy.with_suffix(".tar.gz").is_file()):
        if not copy.is_dir():
            copy = packed.parent / copy.name
            with tarfile.open(root / f"{copy.name}.tar.gz") as archive:
                archive.extractall(packed.parent, filter="data")
        data.prepare("folder", packed, root=copy, title="CIFAR-10 (JPEG copy)")
    elif root.is_dir():
        # The paper selects the model by validation error on SVHN only.
        validation = data.PAPER_VALIDATION[name] if name == "svhn" else 0
        data.prepare(name, packed, root=root, validation=validation)
    else:
        raise DataError("no such folder", field="data", value=str(root), remedy="Give the folder of the data")
