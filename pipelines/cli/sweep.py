"""`netslim sweep lambda` and `netslim sweep percent`: the paper's two studies on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.options import config_from, run_options
from netslim_kfp.pipelines.config_errors import shown
from netslim_kfp.pipelines.run_config import RunConfig, parse_percent

__all__ = ["sweep"]

NO_PASSES = "a sweep has no baseline and no passes"
EACH_POINT = "each point of the sweep has its own"
FILES_ARE_SHARED = "the local runner overwrites the results of one point with those of the next"
REFUSED = {
    "base": NO_PASSES,
    "passes": NO_PASSES,
    "max_error_increase": NO_PASSES,
    "baseline": NO_PASSES,
}
REFUSED_BY_LAMBDA = {**REFUSED, "lambda": EACH_POINT, "total_shrinkage": EACH_POINT}
REFUSED_BY_PERCENT = {**REFUSED, "percent": EACH_POINT, "target": EACH_POINT}
HELD_OUT = {"cifar10": 5000, "cifar100": 5000, "svhn": 6000, "mnist": 5000, "fashion-mnist": 5000}
HELD_OUT_ELSEWHERE = 200


@click.group(short_help="Compare strengths of L1, or percentages.")
def sweep() -> None:
    """Compare strengths of the L1 term, or percentages of channels to prune."""


@sweep.command("lambda")
@click.option("--lambdas", default="1e-3,1e-4,1e-5", show_default=True, help="The paper's grid.")
@click.option(
    "--total-shrinkages", "--pulls", "shrinkages", default="", help="Total shrinkages instead, such as 1,2,4."
)
@run_options(hide=REFUSED_BY_LAMBDA)
def lambda_(lambdas: str, shrinkages: str, **options: Any) -> None:
    """Which lambda? Train, prune and fine-tune with each; choose by validation error (paper, section 4.3)."""
    from netslim_kfp.pipelines.sweeps.pipeline import build_lambda, lambda_inputs

    config = config_from(options)
    refuse(config, REFUSED_BY_LAMBDA, "netslim sweep lambda")
    if not config.validation:  # lambda is chosen on images that neither train nor test the network
        config = config.model_copy(update={"validation": HELD_OUT.get(config.dataset, HELD_OUT_ELSEWHERE)})
    if shrinkages:
        strengths = [f"total_shrinkage={value!r}" for value in numbers("total_shrinkages", shrinkages)]
    else:
        strengths = [f"lambda={value!r}" for value in numbers("lambdas", lambdas)]
    start(build_lambda(), arguments_for(lambda_inputs(), config, strengths=strengths), config)


@sweep.command("percent")
@click.option(
    "--percents",
    default="0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    show_default=True,
    help="The paper's Figure 5.",
)
@run_options(hide=REFUSED_BY_PERCENT)
def percent(percents: str, **options: Any) -> None:
    """How much can go? Prune one sparse network by each percent and fine-tune (paper, Figure 5)."""
    from netslim_kfp.pipelines.sweeps.pipeline import build_percent, percent_inputs

    config = config_from(options)
    refuse(config, REFUSED_BY_PERCENT, "netslim sweep percent")
    values = [str(parse_percent(value.strip())) for value in percents.split(",")]
    start(build_percent(), arguments_for(percent_inputs(), config, percents=values), config)


def refuse(config: RunConfig, refused: Mapping[str, str], command: str) -> None:
    """Check that no option was given, by file or command line, that the sweep would ignore.

    Args:
        refused: the reason for each option that does not apply.

    Raises:
        ConfigError: one was given.
    """
    for name in config.given:
        reason = FILES_ARE_SHARED if name == "cache" and config.cache else refused.get(name)
        if reason:
            value = getattr(config, "lambda_" if name == "lambda" else name)
            problem = f"does not apply to `{command}`, because {reason}"
            value = dict(value) if isinstance(value, Mapping) else value
            raise ConfigError(problem, field=name, value=shown(value), remedy="Leave it out")


def arguments_for(inputs: Mapping[str, Any], config: RunConfig, **points: list[str]) -> dict[str, Any]:
    """The values of a sweep pipeline's `inputs`: those of the run, and the points of the sweep."""
    values = {**config.pipeline_arguments(), **points}
    return {name: values[name] for name in inputs}


def numbers(option: str, text: str) -> list[float]:
    """The numbers of a text such as "1e-3,1e-4".

    Raises:
        ConfigError: a part of it is not a number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            "not numbers with commas between", field=option, value=text, remedy="Write 1e-3,1e-4"
        ) from None


def start(pipeline: Any, arguments: dict[str, Any], config: RunConfig) -> None:
    """Run the sweep and print its table."""
    from netslim import tracking
    from netslim_kfp.pipelines.cli.summary import summary
    from netslim_kfp.pipelines.local.run import run_local
    from netslim_kfp.pipelines.preflight import check_run

    # KFP's local runner gives all iterations of a loop one folder, so a cached point would name files that a
    # later point has overwritten. Each point reads its files before the next begins; only the cache is off.
    config = config.model_copy(update={"cache": False})
    uri = config.tracking_uri or tracking.default_uri(config.output)
    check_run(config, uri)
    console = Console()
    outcome = run_local(pipeline, arguments, config, tracking_uri=uri, console=console)
    summary(outcome, config, uri, console)
