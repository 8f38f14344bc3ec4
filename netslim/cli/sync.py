"""`netslim sync`: log to MLflow what a run could not log."""

from __future__ import annotations

from pathlib import Path

import click

from netslim.cli.output_option import output_option

__all__ = ["sync"]


@click.command(short_help="Log what MLflow did not accept during a run.")
@click.argument("where", required=False)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    default="",
    help="MLflow server.  [default: the one that each run was meant for]",
)
@output_option
def sync(where: str | None, tracking_uri: str, output: Path) -> None:
    """Log the passes that MLflow did not accept when they were measured. It is safe to repeat.

    WHERE is a folder with results of `evaluate`: on a cluster the run's folder in the object store, such as
    s3://bucket/v2/artifacts/network-slimming/RUN. Without it these are the passes that `netslim run` has kept
    in its output folder.
    """
    from netslim import tracking

    done = tracking.sync(
        where or tracking.journal_of(output),
        uri=tracking_uri,
        on_run=lambda key: click.echo(f"Logging {key}"),
    )
    for run in done:
        click.echo(f"{run.key}: {', '.join(run.passes) or 'its end'}, in {run.server}")
    if not done:
        click.echo("Nothing waits to be logged.")
