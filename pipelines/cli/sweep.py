"""`netslim sweep lambda` and `netslim sweep percent`: the paper's two studies on this machine."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
from rich.console import Console

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.options import config_from, run_options
from netslim_kfp.pipelines.run_config import RunConfig, checked_percent

__all__ = ["sweep"]

SHARED = (
    "model",
    "model_args",
    "dataset",
    "data_root",
    "download",
    "validation",
    "image_size",
    "dataset_title",
    "preset",
    "tune",
    "scope",
    "policy",
    "channel_multiple",
    "seed",
    "experiment",
)


@click.group(short_help="Compare strengths of L1, or percentages.")
def sweep() -> None:
    """Compare strengths of the L1 term, or percentages of channels to prune."""


@sweep.command("lambda")
@click.option("--lambdas", default="1e-3,1e-4,1e-5", show_default=True, help="The paper's grid.")
@click.option(
    "--pulls", default="", help="Total pulls instead of lambdas, such as 1,2,4: right for short runs."
)
@run_options
def lambda_(lambdas: str, pulls: str, **options: Any) -> None:
    """Which lambda? Train, prune and fine-tune with each; choose by validation error (paper, section 4.3)."""
    from netslim_kfp.pipelines.sweeps.pipeline import build_lambda

    config = with_validation(config_from(options))
    name, values = ("pull", numbers("pulls", pulls)) if pulls else ("lam", numbers("lambdas", lambdas))
    arguments = shared(config) | {
        "strengths": [f"{name}={value!r}" for value in values],
        "sparse": dict(config.sparse),
        "percent": str(config.percent),
    }
    start(build_lambda(), arguments, config)


@sweep.command()
@click.option(
    "--percents",
    default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    show_default=True,
    help="The paper's Figure 5.",
)
@run_options
def percent(percents: str, **options: Any) -> None:
    """How much can go? Prune one sparse network by each percent and fine-tune (paper, Figure 5)."""
    from netslim_kfp.pipelines.sweeps.pipeline import build_percent

    config = config_from(options)
    values = [str(checked_percent(value.strip())) for value in percents.split(",")]
    arguments = shared(config) | {
        "percents": values,
        "sparse": config.pipeline_arguments()["sparse"],
    }
    start(build_percent(), arguments, config)


def numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "not numbers with commas between", field=option, value=text, remedy="Write 1e-3,1e-4"
        ) from None


def with_validation(config: RunConfig) -> RunConfig:
    """Lambda is chosen on images that neither train nor test the network."""
    usual = {"cifar10": 5000, "cifar100": 5000, "svhn": 6000, "mnist": 5000, "fashion-mnist": 5000}
    return dataclasses.replace(config, validation=config.validation or usual.get(config.dataset, 200))


def shared(config: RunConfig) -> dict[str, Any]:
    arguments = config.pipeline_arguments()
    # A study wants to see where a layer breaks, so only what the user asks for is capped.
    return {name: arguments[name] for name in SHARED}


def start(pipeline: Any, arguments: dict[str, Any], config: RunConfig) -> None:
    from netslim import tracking
    from netslim_kfp.pipelines.cli.summary import summary
    from netslim_kfp.pipelines.local.run import run_local
    from netslim_kfp.pipelines.preflight import preflight

    # KFP's local runner gives all iterations of a loop one folder, so a cached point would name files that a
    # later point has overwritten. Each point uses its files before the next begins; only the cache must go.
    config = dataclasses.replace(config, cache=False)
    uri = config.tracking_uri or tracking.default_uri(config.output)
    preflight(config, uri)
    console = Console()
    outcome = run_local(pipeline, arguments, config, tracking_uri=uri, console=console)
    summary(outcome, config, uri, console)
