"""`netslim bench`: measure time, memory and size of a model, alone or against another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from netslim.bundle.benchmark import ModelMeasurement

__all__ = ["bench"]


def finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """`value`; click takes nan and inf for numbers in any range."""
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command(short_help="Measure a bundle: time, memory, size.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="A bundle or ONNX file to compare with, such as the baseline.",
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of onnxruntime."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01),
    callback=finite,
    default=2.0,
    show_default=True,
    help="Run time for each model and batch size.",
)
def bench(bundle: Path, against: Path | None, threads: int, seconds: float) -> None:
    """Measure BUNDLE (or an ONNX file) in onnxruntime on this machine: time, memory and size.

    With --against both models run in turns, and the last column is the reduction from that model to BUNDLE.
    """
    from importlib.metadata import version

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from netslim.bundle.benchmark import compare
    from netslim.errors import printable
    from netslim.report.tables import times

    models = [bundle, *([against] if against else [])]
    measurements = compare(models, threads=threads, seconds=seconds)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for model in models:
        table.add_column(escape(printable(model.name or str(model))), justify="right")
    table.add_column("")
    for title, values, show in _rows(measurements):
        ratio = times(values[1] / values[0]) if against else ""
        table.add_row(title, *map(show, values), ratio)
    console = Console()
    console.print(table)
    count = f"{threads} thread{'s' if threads > 1 else ''}"
    console.print(f"onnxruntime {version('onnxruntime')}, {count}, taking turns", highlight=False)


def _rows(
    measurements: Sequence[ModelMeasurement],
) -> Iterator[tuple[str, list[float], Callable[[float], str]]]:
    """Title, one value for each model, and how to show a value."""
    from netslim.bundle.benchmark import BATCH_SIZES
    from netslim.report.tables import scaled, significant

    three_digits = partial(significant, digits=3)
    for batch in BATCH_SIZES:
        latencies = [measurement.latency[batch] for measurement in measurements]
        yield f"p50 ms, batch {batch}", [latency.median_ms for latency in latencies], three_digits
        yield f"p95 ms, batch {batch}", [latency.p95_ms for latency in latencies], three_digits
    for batch in BATCH_SIZES:
        memory = [measurement.peak_kib[batch] / 1024 for measurement in measurements]
        yield f"peak memory MiB, batch {batch}", memory, "{:.1f}".format
    yield "file, bytes", [float(measurement.bytes) for measurement in measurements], scaled
