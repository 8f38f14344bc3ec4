"""`netslim run`: the whole pipeline on this machine."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from netslim_kfp.pipelines.cli.options import config_from, run_options

__all__ = ["run"]


@click.command(short_help="Slim a network on this machine.")
@run_options
def run(**options: Any) -> None:
    """Slim a network: the compiled pipeline, pass after pass, on this machine.

    Unchanged steps of an earlier run into the same --output are not run again.
    """
    from netslim import tracking
    from netslim_kfp.pipelines.cli.summary import summary
    from netslim_kfp.pipelines.local.run import run_local
    from netslim_kfp.pipelines.preflight import preflight
    from netslim_kfp.pipelines.slimming.pipeline import build

    config = config_from(options)
    console = Console()
    uri = config.tracking_uri or tracking.default_uri(config.output)
    preflight(config, uri)
    console.print(
        f"Slimming [bold]{config.model}[/] on [bold]{config.dataset}[/], up to {config.passes} passes",
        highlight=False,
    )
    pipeline = build(config.passes, baseline=config.baseline)
    outcome = run_local(pipeline, config.pipeline_arguments(), config, tracking_uri=uri, console=console)
    summary(outcome, config, uri, console)
