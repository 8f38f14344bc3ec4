"""What can be known to be wrong before the first step starts, found in a second instead of in a minute."""

from __future__ import annotations

from pathlib import Path

from netslim import data, models, presets, tracking
from netslim.errors import ConfigError, DataError
from pipelines import containers
from pipelines.config import RunConfig

__all__ = ["preflight"]


def preflight(config: RunConfig, tracking_uri: str) -> None:
    """Check names, recipes, the data's root, the runner and the tracking server.

    Raises:
        ConfigError, ModelError, DataError, TrackingError, PipelineError: the first thing found wrong.
    """
    if config.dataset not in data.names():
        raise ConfigError(
            "unknown dataset",
            field="dataset",
            value=config.dataset,
            remedy=f"Choose one of {', '.join(data.names())}",
        )
    models.resolve(config.model, num_classes=10, in_channels=3, image_size=(32, 32), **config.model_args)
    arguments = config.pipeline_arguments()
    for stage, overrides in (("base", "base"), ("sparse", "sparse"), ("fine_tune", "tune")):
        presets.stage(config.preset, stage, arguments[overrides])
    root = config.data_root
    if root and not root.startswith("s3://") and not Path(root).exists() and not config.download:
        raise DataError(
            "no such folder",
            field="data_root",
            value=root,
            remedy="Give the folder with the dataset's files, or add --download",
        )
    if config.runner == "docker":
        containers.preflight()
    tracking.preflight(tracking_uri)
