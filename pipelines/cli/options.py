"""The options of a run, shared by every command that describes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from netslim.errors import ConfigError
from netslim_kfp.pipelines.run_config import RunConfig, load
from netslim_kfp.pipelines.yaml_numbers import read_yaml

__all__ = ["config_from", "gpus_option", "pipeline_options", "platform_options", "run_options"]

PAIRS = ("model_args", "base", "sparse", "tune", "target")

gpus_option = click.option(
    "--gpus",
    type=click.IntRange(min=0),
    help="GPUs to train on, a process on each; 0 for the CPU.  [default: 1]",
)

OPTIONS = [
    click.option(
        "--config", type=click.Path(dir_okay=False), help="YAML file of these options; flags win over it."
    ),
    click.option(
        "--model",
        help="vgg19, resnet164, densenet40, mlp, ..., any torchvision classifier, or "
        "package.module:factory.  [default: by dataset]",
    ),
    click.option(
        "--model-arg", "model_args", multiple=True, metavar="NAME=VALUE", help="Argument of the model."
    ),
    click.option(
        "--dataset",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.  [default: digits]",
    ),
    click.option("--data-root", help="Folder or s3:// prefix with the dataset's files."),
    click.option("--download/--no-download", default=None, help="Fetch missing files into the data root."),
    click.option(
        "--validation",
        type=int,
        help="Images held out of training for choosing; the paper takes 5000 of CIFAR-10.",
    ),
    click.option("--image-size", type=int, help="Scale and crop images to this many pixels."),
    click.option(
        "--dataset-title", help="The dataset's honest name in tables, when it is not the usual one."
    ),
    click.option(
        "--preset", help="Training recipe: digits, cifar, svhn, imagenet, mnist.  [default: by dataset]"
    ),
    click.option(
        "--base", multiple=True, metavar="NAME=VALUE", help="Change the baseline's recipe: epochs=40."
    ),
    click.option(
        "--sparse", multiple=True, metavar="NAME=VALUE", help="Change the sparse training's recipe."
    ),
    click.option("--tune", multiple=True, metavar="NAME=VALUE", help="Change the fine-tuning's recipe."),
    click.option("--lambda", "lam", type=float, help="Weight of the L1 term on the scaling factors."),
    click.option("--pull", type=float, help="lambda as total pull over the schedule; survives short runs."),
    click.option(
        "--percent",
        help="Share of channels to prune in a pass, or `dead` for just those at zero.  [default: 0.5]",
    ),
    click.option(
        "--target",
        multiple=True,
        metavar="NAME=SHARE",
        help="A budget instead of a percent: flops=0.5, params=..., macs=...",
    ),
    click.option(
        "--scope",
        type=click.Choice(["global", "layer"]),
        help="Rank all channels together, or prune the same percent of each layer.",
    ),
    click.option(
        "--policy", type=click.Choice(["auto", "group", "select"]), help="How coupled channels are treated."
    ),
    click.option(
        "--max-layer-percent", type=float, help="Most of one layer that may go in a pass.  [default: 0.5]"
    ),
    click.option("--min-channels", type=int, help="Fewest channels a layer keeps.  [default: 1]"),
    click.option("--channel-multiple", type=int, help="Round widths up to a multiple of this.  [default: 1]"),
    click.option("--passes", type=int, help="Slimming passes, 1 to 6.  [default: 3]"),
    click.option(
        "--max-loss",
        type=float,
        help="Stop when the error is this many percentage points above the baseline's.  [default: 1]",
    ),
    click.option(
        "--baseline/--no-baseline", default=None, help="Also train and measure the wide network normally."
    ),
    click.option("--seed", type=int, help="Of weights, order, augmentation and splits.  [default: 0]"),
    gpus_option,
    click.option("--cache/--no-cache", default=None, help="Reuse the results of unchanged steps."),
]

# Where a run on this machine takes place; a cluster settles these by itself.
LOCAL_OPTIONS = [
    click.option(
        "--runner", type=click.Choice(["subprocess", "docker"]), help="Steps as processes or containers."
    ),
    click.option(
        "--output",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where results, cache and logs go.  [default: netslim-runs]",
    ),
    click.option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow server.  [default: SQLite in the output folder]",
    ),
]

PLATFORM_OPTIONS = [
    click.option(
        "--profiles",
        type=click.Path(dir_okay=False),
        help="YAML file of what each kind of step gets: changes to pipelines/cluster/profiles.yaml.",
    ),
    click.option(
        "--nodes", type=click.IntRange(min=1), help="Nodes that train together, by a TrainJob.  [default: 1]"
    ),
    click.option(
        "--checkpoints", help="s3:// folder for checkpoints, from which a retried training goes on."
    ),
]


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with every option of a run here; they arrive as keyword arguments."""
    return _decorated(command, [*OPTIONS, *LOCAL_OPTIONS])


def pipeline_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with the options of a run wherever it takes place."""
    return _decorated(command, OPTIONS)


def platform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a click command with the options that say what steps get from a cluster."""
    return _decorated(command, PLATFORM_OPTIONS)


def _decorated(command: Callable[..., Any], options: list[Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def config_from(options: Mapping[str, Any]) -> RunConfig:
    """The run's config from a command's keyword arguments: only options the user gave win over the file."""
    given = {
        name: pairs(name, value) if name in PAIRS else value
        for name, value in options.items()
        if name != "config" and value is not None and value != ()
    }
    return load(options.get("config"), given)


def pairs(option: str, values: tuple[str, ...]) -> dict[str, Any]:
    """`("epochs=20", "lr=0.1")` as a dict; values are read as YAML, so numbers are numbers."""
    found: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(
                "not of the form NAME=VALUE", field=option, value=text, remedy="Write epochs=20"
            )
        found[name.strip().replace("-", "_")] = read_yaml(value)
    return found
