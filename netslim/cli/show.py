"""`netslim show`: the table of a run, read back from MLflow."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["show"]


@click.command(short_help="Show a run's table again.")
@click.argument("key", required=False)
@click.option(
    "--dataset", default="digits", show_default=True, help="Runs over one dataset share an experiment."
)
@click.option(
    "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="MLflow server.  [default: SQLite in --output]"
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("netslim-runs"),
    show_default=True,
    help="The output folder of `netslim run`.",
)
def show(key: str | None, dataset: str, tracking_uri: str | None, output: Path) -> None:
    """Show a run's table over passes again: the run KEY, or the last one."""
    from rich.console import Console

    from netslim import report, tracking

    uri = tracking_uri or tracking.default_uri(output)
    found = tracking.read_run(uri, f"netslim/{dataset}", key)
    console = Console()
    console.print(report.table(found.ledger, width=console.width))
    console.print(f"MLflow  {found.view}", highlight=False, soft_wrap=True)
