"""`netslim run`: the whole pipeline on this machine."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
from rich.console import Console

from netslim_kfp.pipelines.cli.options import config_from, run_options

__all__ = ["run"]


def print_schema(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the JSON schema of config files and end the command."""
    if wanted:
        from netslim_kfp.pipelines.config_schema import config_schema

        click.echo(config_schema(), nl=False)
        context.exit()


@click.command(short_help="Slim a network on this machine.")
@run_options()
@click.option(
    "--config-schema",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=print_schema,
    help="Print the JSON schema of config files, for editors, and exit.",
)
def run(**options: Any) -> None:
    """Slim a network: run the compiled pipeline, pass after pass, on this machine.

    Unchanged steps of an earlier run with the same --output are not run again.
    """
    from netslim import tracking
    from netslim_kfp.pipelines.cli.summary import log_pending, summary
    from netslim_kfp.pipelines.local.run import run_local
    from netslim_kfp.pipelines.preflight import check_run
    from netslim_kfp.pipelines.slimming.pipeline import build

    config = config_from(options)
    console = Console()
    uri = config.tracking_uri or tracking.default_uri(config.output)
    check_run(config, uri)
    log_pending(config, uri, console)
    console.print(
        f"Slimming [bold]{config.model}[/] on [bold]{config.dataset}[/], up to {config.passes} passes",
        highlight=False,
    )
    for warning in config.warnings:
        console.print(warning, style="yellow", highlight=False)
    pipeline = build(config.passes, baseline=config.baseline)
    stopped = partial(tracking.mark_killed, uri, config.experiment)
    outcome = run_local(
        pipeline, config.pipeline_arguments(), config, tracking_uri=uri, console=console, stopped=stopped
    )
    summary(outcome, config, uri, console)
