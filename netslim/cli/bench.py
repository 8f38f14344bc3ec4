"""`netslim bench`: how fast and how large a model is here, and against another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

__all__ = ["bench"]


@click.command(short_help="Measure a bundle: time, memory, size.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="A bundle or ONNX file to compare with, the baseline's.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of onnxruntime.")
@click.option("--seconds", type=click.FloatRange(0.01), default=2.0, show_default=True, help="Each.")
def bench(bundle: Path, against: Path | None, threads: int, seconds: float) -> None:
    """Measure BUNDLE (or an ONNX file) in onnxruntime on this machine: time, memory and size.

    With --against both models take turns, and the last column says how many times less BUNDLE takes.
    """
    from importlib.metadata import version

    from rich.console import Console
    from rich.table import Table

    from netslim.bundle.benchmark import BATCHES, compare
    from netslim.report.tables import scaled, significant, times

    found = compare([bundle, *([against] if against else [])], threads=threads, seconds=seconds)
    rows: list[tuple[str, list[float], Callable[[float], str]]] = []
    three = partial(significant, digits=3)
    for batch in BATCHES:
        rows.append((f"p50 ms, batch {batch}", [one.latency[batch].median_ms for one in found], three))
        rows.append((f"p95 ms, batch {batch}", [one.latency[batch].p95_ms for one in found], three))
    for batch in BATCHES:
        told = f"peak memory MiB, batch {batch}"
        rows.append((told, [one.peak_kib[batch] / 1024 for one in found], "{:.1f}".format))
    rows.append(("file, bytes", [float(one.bytes) for one in found], scaled))
    table = Table(box=None, pad_edge=False)
    for heading in ("", bundle.name or str(bundle), *([against.name] if against else []), ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for told, values, form in rows:
        cells = [form(value) for value in values]
        ratio = times(values[1] / values[0]) if len(values) > 1 else ""
        table.add_row(told, *cells, ratio)
    console = Console()
    console.print(table)
    threads_told = f"{threads} thread{'s' if threads > 1 else ''}"
    console.print(f"onnxruntime {version('onnxruntime')}, {threads_told}, taking turns", highlight=False)
