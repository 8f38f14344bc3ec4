"""`netslim verify`: check a bundle."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["verify"]


@click.command(short_help="Check a bundle before you use it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Public key of the person who signed the bundle, a PEM file.",
)
def verify(bundle: Path, key: Path | None) -> None:
    """Check BUNDLE, the folder of a model: checksums, structure, contents, and the results on its samples.

    Nothing in the bundle is trusted, and its models run in a process with limits on time and memory. The exit
    code is 0 when all checks pass, and 10 when one fails.
    """
    from rich.console import Console
    from rich.markup import escape

    from netslim.bundle.verify import require_good
    from netslim.bundle.verify import verify as run_checks

    console = Console()
    results = run_checks(bundle, key=key)
    for result in results:
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]--[/]"}[result.passed]
        console.print(f" {mark}  {result.name:<10} {escape(result.detail)}", highlight=False, soft_wrap=True)
    require_good(results, bundle, "Do not use this bundle; fetch it again from where it was published")
