"""`netslim show`: print the table of a recorded run again."""

from __future__ import annotations

from pathlib import Path

import click

from netslim.cli.output_option import output_option

__all__ = ["show"]


@click.command(short_help="Show a run's table again.")
@click.argument("key", required=False)
@click.option("--dataset", help="Take the newest run over this dataset only.  [default: over any]")
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow server.  [default: SQLite in --output]"
)
@output_option
def show(key: str | None, dataset: str | None, tracking_uri: str | None, output: Path) -> None:
    """Show the table over passes of the run KEY, read from MLflow.

    On a cluster KEY is the id of the run in KFP, also of one that `netslim submit --resubmit` has started.

    Without KEY it is the run that started last among those with a finished pass.
    """
    from rich.console import Console

    from netslim import report, tracking
    from netslim.results.best_model import best_model

    uri = tracking_uri or tracking.default_uri(output)
    run = tracking.read_run(uri, f"netslim/{dataset}" if dataset else "", key)
    console = Console()
    started = f"{run.started.astimezone():%Y-%m-%d %H:%M}"
    label = run.key if run.name == run.key else f"{run.key} ({run.name})"
    heading = f"Run {label} in {run.experiment}, started {started}, {run.status}"
    heading += "" if key else ", the newest run with a pass"
    console.print(heading, highlight=False, markup=False, soft_wrap=True)
    if run.ending:
        console.print(run.ending.sentence, highlight=False, markup=False, soft_wrap=True)
    console.print(report.table(run.results, width=console.width))
    if best := best_model(run.results):
        console.print(best.sentence, highlight=False)
    if run.registered:
        console.print(f"Registered as {run.registered}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"MLflow  {run.view}", highlight=False, soft_wrap=True)
