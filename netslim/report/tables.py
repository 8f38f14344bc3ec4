"""The table over passes as text: for a terminal of 80 columns, and as Markdown for MLflow's run page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["CAPTION", "Column", "columns", "markdown", "scaled", "table", "times"]

CAPTION = (
    "2.8x: so many times fewer than the wide network. FLOPs = 2 x MACs of convolution and linear layers, per "
    "image. Errors in percent: after training, right after pruning, and of the fine-tuned ONNX model."
)


class Column(NamedTuple):
    """One column: the heading it may share with its neighbours, its own, and a cell for each row."""

    group: str
    name: str
    cells: tuple[str, ...]

    @property
    def heading(self) -> str:
        return f"{self.group} {self.name}".strip()

    @property
    def width(self) -> int:
        """Characters that it takes in a terminal, where a ratio has no heading."""
        headings = () if self.name == "fewer" else (self.group, self.name)
        return max(map(len, (*headings, *self.cells)))


def columns(ledger: RunResults) -> list[Column]:
    """The table over passes. A column without any content is left out."""
    rows, wide = ledger.rows, ledger.reference_size

    def column(group: str, name: str, cell: Callable[[PassResult], str]) -> Column:
        return Column(group, name, tuple(map(cell, rows)))

    def fewer(row: PassResult, name: str) -> str:
        ratio = getattr(wide, name) / max(1, getattr(row.size, name)) if wide else 1
        return times(ratio) if ratio > 1 else ""

    batches = sorted({batch for row in rows for batch in row.latency})
    found = [
        column("", "pass", lambda row: row.title.removeprefix("pass ")),
        column("", "channels", lambda row: f"{row.size.channels:,}"),
        column("", "params", lambda row: _count(row.size.params)),
        column("params", "fewer", lambda row: fewer(row, "params")),
        column("", "FLOPs", lambda row: scaled(row.size.flops)),
        column("FLOPs", "fewer", lambda row: fewer(row, "flops")),
        column("error", "trained", lambda row: _percent(row.errors.trained)),
        column("error", "pruned", lambda row: _percent(row.errors.pruned)),
        column("error", "tuned", lambda row: _percent(row.errors.test)),
        column("error", "val", lambda row: _percent(row.errors.validation)),
        column("ONNX", "bytes", lambda row: scaled(row.onnx_bytes)),
        *(column("ms", f"b={n}", lambda row, n=n: _milliseconds(row, n)) for n in batches),  # type: ignore[misc]
    ]
    return [column for column in found if any(column.cells)]


def table(ledger: RunResults, *, width: int = 80) -> Table:
    """The table over passes for a terminal of `width` characters; what does not fit is in the report.

    The columns stand in the order of their weight, so the last ones are left out.
    """
    from rich.table import Table

    # Lines between columns would take the table beyond 80 characters.
    words = f"\n{CAPTION}\n{ledger.conclusion}"
    made = Table(box=None, caption=words, caption_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    found = columns(ledger)
    while sum(column.width + 1 for column in found) > width + 1:
        found.pop()
    for column in found:
        ratio = column.name == "fewer"
        made.add_column(
            "" if ratio else f"{column.group}\n{column.name}",
            justify="left" if column.name == "pass" or ratio else "right",
            style="green" if ratio else "bold" if column.name == "tuned" else None,
            no_wrap=True,
        )
    for cells in zip(*(column.cells for column in found), strict=True):
        made.add_row(*cells)
    return made


def markdown(ledger: RunResults) -> str:
    found = columns(ledger)
    lines = [
        [column.heading for column in found],
        [":--" if column.name == "pass" else "--:" for column in found],
        *zip(*(column.cells for column in found), strict=True),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{CAPTION}\n{ledger.conclusion}"


def scaled(value: float) -> str:
    """Three digits and a unit: 8.70k, 4.76M, 1.20G."""
    for unit in ("", "k", "M", "G"):
        if abs(value) < 999.5 or unit == "G":
            break
        value /= 1000
    if not unit or abs(value) >= 99.95:
        return f"{value:.0f}{unit}"
    return f"{value:.{1 if abs(value) >= 9.995 else 2}f}{unit}"


def times(ratio: float) -> str:
    """2.8x, 29x, 104x."""
    return f"{ratio:.{1 if ratio < 9.95 else 0}f}x"


def significant(value: float, digits: int = 2) -> str:
    """So many digits, and all of those before the point: 0.035, 26, 748."""
    return f"{value:.0f}" if value >= 10**digits - 0.5 else f"{value:#.{digits}g}".rstrip(".")


def _count(value: int) -> str:
    return f"{value:,}" if value < 1e6 else scaled(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _milliseconds(row: PassResult, batch: int) -> str:
    return significant(row.latency[batch].median_ms) if batch in row.latency else ""
