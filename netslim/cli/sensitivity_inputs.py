"""What `netslim sensitivity` measures: a trained network, a prepared dataset, and images to choose by."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netslim.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from netslim.data import DatasetInfo, PackedDataset, Split

__all__ = [
    "folders_of_run",
    "images_to_choose_by",
    "opened_dataset",
    "recalibration_batches",
    "trained_network",
]

IN_MEMORY = 2**30
"""Images of up to so many bytes are decoded once, not for each evaluation."""
RECALIBRATE_ON = 500
"""Training images for new BatchNorm statistics: with twice as many the proposed shares were the same."""
PREPARE = {"data_root": "root", "validation": "validation", "image_size": "size", "seed": "seed"}
"""The options that go with the name of a dataset, each with its name in `netslim.data.prepare`."""
SPARSE, DATA = "pass 1: train sparse", "prepare data"


def folders_of_run(run: Path) -> tuple[Path, Path] | None:
    """The folders of the sparsely trained network of the first pass and of the dataset of a local run.

    None if the folder is not one of a run.

    Raises:
        ConfigError: the run has no such network.
    """
    from netslim.storage.atomic import read_json

    if not (run / "run.json").is_file():
        return None
    file = run / "artifacts.json"
    folders = read_json(file) if file.is_file() else {}
    try:
        return run / folders[SPARSE]["model"], run / folders[DATA]["dataset"]
    except (KeyError, TypeError):
        problem = "the run has no network of its first sparse training"
        remedy = "Give the `model` folder of a training step in artifacts/, and its dataset by --dataset"
        raise ConfigError(problem, field="model", value=str(run), remedy=remedy) from None


@contextmanager
def opened_dataset(dataset: str, options: Mapping[str, Any]) -> Iterator[PackedDataset]:
    """A dataset for the length of a `with` block: the folder of a prepared one, or one that is prepared now.

    Args:
        dataset: a folder that a step prepared, or a name.
        options: by the names of the command line; those that go with a name are used, 0 and "" are none.

    Raises:
        ConfigError: it is neither, or has an option that only a name can have.
        DataError: it is damaged, or its files are missing.
    """
    from netslim import data

    given = {name: options[name] for name in PREPARE if options[name]}
    if Path(dataset, "dataset.json").is_file():
        if given:
            problem, remedy = f"the dataset {dataset} is prepared already", "Leave it out"
            name, value = next(iter(given.items()))
            raise ConfigError(problem, field=name, value=value, remedy=remedy)
        yield data.open_dataset(dataset)
    elif dataset not in data.names() and Path(dataset).is_dir():
        remedy = "Images are read by --dataset folder --data-root"
        raise DataError("the folder has no dataset.json", field="dataset", value=dataset, remedy=remedy)
    else:
        with tempfile.TemporaryDirectory(prefix="netslim-") as folder:
            prepared = {PREPARE[name]: value for name, value in given.items()}
            data.prepare(dataset, Path(folder, "dataset"), **prepared)
            yield data.open_dataset(Path(folder, "dataset"))


def trained_network(model: str, info: DatasetInfo, allow_factory: str) -> nn.Module:
    """The network in a model folder, or that of a user's factory; it fits the dataset.

    Raises:
        ModelError: the folder is damaged or names another factory, the name is one of untrained networks, or
            the network does not fit the dataset.
    """
    from netslim import models
    from netslim.models.artifact import load_model
    from netslim.models.factory import is_user_code

    size: dict[str, Any] = {
        "num_classes": len(info.classes),
        "in_channels": info.channels,
        "image_size": info.image_size,
    }
    if Path(model).is_dir():
        network = load_model(model, allow_factory=allow_factory).model
    elif ":" not in model and ("/" in model or Path(model).exists()):
        remedy = "Give the folder of a run, the `model` folder of a training step, or package.module:factory"
        raise ModelError("no such folder", field="model", value=model, remedy=remedy)
    elif not is_user_code(models.check_name(model)):
        problem = "has new weights, and only a trained network can be measured"
        remedy = "Give the folder of a run, the `model` folder of a training step, or package.module:factory"
        raise ModelError(problem, field="model", value=model, remedy=remedy)
    else:
        network = models.build(models.resolve(model, **size))
    models.check_fit(network, **size)
    return network


def images_to_choose_by(packed: PackedDataset, count: int) -> tuple[Split, str]:
    """Up to `count` validation images, or training images if none are held out; and what they are.

    Never test images: shares that are chosen by them would make their error too low.
    """
    from netslim.data import Split
    from netslim.data.validation import draw_validation

    name = "val" if "val" in packed.info.sizes else "train"
    split = packed.split(name)
    if count < len(split):
        split = draw_validation(split, count, packed.info.seed)[1]
    size = len(split) * math.prod(packed.info.image_size) * packed.info.channels
    if size <= IN_MEMORY:
        split = Split(split.images[: len(split)], split.labels)
    title = packed.info.title
    if name == "val":
        return split, f"{len(split):,} validation images of {title}"
    return split, f"{len(split):,} training images of {title}, which has no validation images"


def recalibration_batches(packed: PackedDataset, device: torch.device) -> list[Tensor]:
    """Batches of `RECALIBRATE_ON` training images, shuffled and augmented as in the step prune."""
    from netslim.training.loaders import loader_for

    size = packed.info.batch_of(2**21, least=8, most=250)
    loader = loader_for(packed, batch_size=size, seed=0, device=device)
    return [images for images, _ in islice(loader.epoch(0), math.ceil(RECALIBRATE_ON / loader.batch_size))]
