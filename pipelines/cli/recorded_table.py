"""The table of a run on a cluster, read from its tracking server as `netslim run` prints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netslim.errors import NetslimError

__all__ = ["print_table"]


def print_table(tracking_uri: str | None, key: str, echo: Callable[[str], None]) -> list[dict[str, Any]]:
    """Print the run's table as `netslim run` does, and return its passes as JSON data.

    Without a tracking server, or when it cannot be read, print the command that shows the table.
    """
    if not tracking_uri:
        echo(f"Table     netslim show {key} --tracking-uri http://...   (docs/operate.md, Results)")
        return []
    from rich.console import Console

    from netslim import report, tracking

    try:
        found = tracking.read_run(tracking_uri, "", key)
    except NetslimError as error:
        echo(f"Table     not read: {error}")
        return []
    console = Console()
    with console.capture() as captured:
        console.print(report.table(found.results, width=console.width))
    echo(captured.get().rstrip("\n"))
    echo(f"MLflow    {found.view}")
    return [row.to_json() for row in found.results.rows]
