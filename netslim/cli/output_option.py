"""The option with the output folder of `netslim run`, of the commands that read what is in it."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["output_option"]

output_option = click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("netslim-runs"),
    show_default=True,
    help="The output folder of `netslim run`.",
)
