"""`netslim publish`: publish a bundle to a folder or to S3."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["publish"]


@click.command(short_help="Publish a bundle to a folder or S3.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("destination")
@click.option("--triton", metavar="NAME", default="", help="Write Triton's layout of a model with this name.")
def publish(bundle: Path, destination: str, triton: str) -> None:
    """Verify BUNDLE and write it to DESTINATION, a folder or s3://bucket/prefix.

    SHA256SUMS is written last: once it exists, the published bundle is complete. Publishing again changes
    nothing, and another bundle is never overwritten.
    """
    from netslim.bundle.publish import publish as publish_bundle

    written = publish_bundle(bundle, destination, triton=triton)
    click.echo(f"{destination}: {'published' if written else 'this bundle is already published there'}")
