"""Results on disk: one JSON file for each benchmark, from which its page is written (`benchmarks.pages`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from netslim.storage.atomic import read_json, write_json

__all__ = ["RESULTS", "load", "output_option", "save"]

RESULTS = Path(__file__).parent / "results"

output_option = click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Store the result in this folder.  [default: only print it]",
)


def save(result: Mapping[str, Any], name: str, output: Path | None) -> None:
    """Write `output`/`name`.json, if there is an output folder."""
    if output:
        write_json(output / f"{name}.json", dict(result))


def load(name: str, results: Path = RESULTS) -> dict[str, Any]:
    """The stored result of a benchmark, such as "engine" or "paper/table3"."""
    return read_json(results / f"{name}.json")
