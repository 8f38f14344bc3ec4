"""`netslim verify`: is a bundle whole, and is it what it says it is?"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["verify"]


@click.command(short_help="Check a bundle: whole, and what it says?")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(path_type=Path), help="Public key of who must have signed it, a PEM file."
)
def verify(bundle: Path, key: Path | None) -> None:
    """Check BUNDLE, the folder of a model: checksums, structure, contents, and the results on its samples.

    Believes nothing that the bundle says, and runs its models in a process with limits. Exit code 0 when all
    is well, 10 when anything is not.
    """
    from rich.console import Console
    from rich.markup import escape

    from netslim.bundle.verify import require_good
    from netslim.bundle.verify import verify as ask

    console = Console()
    findings = ask(bundle, key=key)
    for found in findings:
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]--[/]"}[found.good]
        console.print(f" {mark}  {found.what:<10} {escape(found.told)}", highlight=False, soft_wrap=True)
    require_good(findings, bundle, "Do not use it; fetch it again from where it was published")
