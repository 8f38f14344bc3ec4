"""Checks of a run before its first step starts, so that a mistake costs a second and not a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from netslim import data, models, tracking
from netslim.errors import ConfigError, DataError, ModelError
from netslim.storage.atomic import storage_errors
from netslim.training import presets
from netslim_kfp.pipelines.local import docker
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["check_names", "check_run"]

FROM_THE_DATASET = ("name", "num_classes", "in_channels", "image_size")
"""Keyword arguments of `models.resolve`, which a model argument cannot replace."""


def check_run(config: RunConfig, tracking_uri: str) -> None:
    """Check names, recipes, output, the data's root, the runner and the tracking server, for a local run.

    The output folder is made, and removed again if a check fails after it.

    Raises:
        ConfigError, ModelError, DataError, StorageError, TrackingError, PipelineError: the first mistake.
    """
    check_names(config)
    with _folder(config.output):
        root = config.data_root
        if root and not root.startswith("s3://") and not Path(root).exists() and not config.download:
            raise DataError(
                "no such folder",
                field="data_root",
                value=root,
                remedy="Give the folder with the dataset's files, or add --download",
            )
        if config.runner == "docker":
            docker.check_engine()
        tracking.check_tracking_server(tracking_uri, config.experiment)


@contextmanager
def _folder(output: Path) -> Iterator[None]:
    """Make a folder with its parents. If the block fails, those that are new and empty are removed."""
    folder = output.resolve()
    with storage_errors(output):
        new = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for each in new:
                each.rmdir()
        raise


def check_names(config: RunConfig, *, factories: bool = True) -> None:
    """Check the names of dataset, model, preset and layers, and the changes of the recipes.

    Args:
        factories: also check a model of the form `package.module:factory`. Its package may be installed only
            where the steps run.

    Raises:
        ConfigError, ModelError: the first mistake.
    """
    if config.dataset not in data.names():
        raise ConfigError(
            "unknown dataset",
            field="dataset",
            value=config.dataset,
            remedy=f"Choose one of {', '.join(data.names())}",
        )
    own = sorted(config.model_args.keys() & set(FROM_THE_DATASET))
    if own:
        problem, remedy = "follows from the dataset", "Leave it out"
        raise ConfigError(
            problem, field=f"model_args.{own[0]}", value=config.model_args[own[0]], remedy=remedy
        )
    if factories or ":" not in config.model:
        size = config.image_size or 32
        architecture = models.resolve(
            config.model, num_classes=10, in_channels=3, image_size=(size, size), **config.model_args
        )
        _check_patterns(config, architecture)
    arguments = config.pipeline_arguments()
    for stage, overrides in (("base", "base"), ("sparse", "sparse"), ("fine_tune", "tune")):
        presets.stage(config.preset, stage, arguments[overrides])


def _check_patterns(config: RunConfig, architecture: models.Architecture) -> None:
    """Check that the patterns of `keep` and `layers` match layers of the network.

    Only the names count, which are known before the dataset is.

    Raises:
        ConfigError: one does not.
    """
    options = config.pruning()
    if not (options.keep or options.shares):
        return  # without loading torch's layers and building a network
    from netslim.pruning.patterns import check_patterns

    try:
        network = models.build(architecture)
    except ModelError:
        return  # it may need images of another size; the step that builds it says why
    check_patterns([path for path, _ in network.named_modules()], options)
