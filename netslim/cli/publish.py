"""`netslim publish`: a bundle to where its users fetch it."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["publish"]


@click.command(short_help="Put a bundle where its users fetch it.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("place")
@click.option("--triton", metavar="NAME", default="", help="Write Triton's layout of a model so called.")
def publish(bundle: Path, place: str, triton: str) -> None:
    """Verify BUNDLE and write it to PLACE, a folder or s3://bucket/prefix.

    SHA256SUMS is written last: who sees it sees a whole bundle. Doing it again changes nothing, and another
    bundle is never written over it.
    """
    from netslim.bundle.publish import publish as put

    written = put(bundle, place, triton=triton)
    click.echo(f"{place}: {'published' if written else 'this very bundle is there already'}")
