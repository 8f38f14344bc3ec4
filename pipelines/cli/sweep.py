"""`netslim sweep lambda` and `netslim sweep percent`: the paper's two studies on this machine."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from rich.console import Console

from netslim_kfp.pipelines.cli.options import config_from, run_options
from netslim_kfp.pipelines.cli.sweep_points import (
    LAMBDAS,
    PERCENTS,
    REFUSED_BY_LAMBDA,
    REFUSED_BY_PERCENT,
    lambda_sweep,
    percent_sweep,
    refuse,
)
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["sweep"]

FILES_ARE_SHARED = "the local runner overwrites the results of one point with those of the next"


@click.group(short_help="Compare strengths of L1, or percentages.")
def sweep() -> None:
    """Compare strengths of the L1 term, or percentages of channels to prune."""


@sweep.command("lambda")
@click.option("--lambdas", default=LAMBDAS, show_default=True, help="The paper's grid.")
@click.option(
    "--total-shrinkages", "--pulls", "shrinkages", default="", help="Total shrinkages instead, such as 1,2,4."
)
@run_options(hide=REFUSED_BY_LAMBDA)
def lambda_(lambdas: str, shrinkages: str, **options: Any) -> None:
    """Which lambda? Train, prune and fine-tune with each; choose by validation error (paper, section 4.3)."""
    config = config_from(options)
    refuse_cache(config, "netslim sweep lambda")
    chosen = lambda_sweep(config, "netslim sweep lambda", lambdas=lambdas, shrinkages=shrinkages)
    start(chosen.build(), chosen.arguments, chosen.config)


@sweep.command("percent")
@click.option("--percents", default=PERCENTS, show_default=True, help="The paper's Figure 5.")
@run_options(hide=REFUSED_BY_PERCENT)
def percent(percents: str, **options: Any) -> None:
    """How much can go? Prune one sparse network by each percent and fine-tune (paper, Figure 5)."""
    config = config_from(options)
    refuse_cache(config, "netslim sweep percent")
    chosen = percent_sweep(config, "netslim sweep percent", percents=percents)
    start(chosen.build(), chosen.arguments, chosen.config)


def refuse_cache(config: RunConfig, command: str) -> None:
    """Check that the cache was not asked for, which the local runner cannot use in a sweep.

    Raises:
        ConfigError: it was.
    """
    refuse(config, {"cache": FILES_ARE_SHARED} if config.cache else {}, command)


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
    stopped = partial(tracking.mark_killed, uri, config.experiment)
    outcome = run_local(pipeline, arguments, config, tracking_uri=uri, console=console, stopped=stopped)
    summary(outcome, config, uri, console)
