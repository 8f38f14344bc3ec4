"""The table over passes as text: for a terminal, and as Markdown for MLflow's page of the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["CAPTION", "Column", "columns", "markdown", "scaled", "table", "times"]

CAPTION = (
    "2.8x = reduction relative to the wide network. FLOPs = 2 x MACs of convolution and linear layers, per "
    "image. Errors in percent: after training, right after pruning, and of the fine-tuned ONNX model. "
    "Times in ms are compared with those of the wide network in the same process."
)


class Column(NamedTuple):
    """One column: the heading shared with its neighbours, its own heading, and a cell for each pass."""

    group: str
    name: str
    cells: tuple[str, ...]

    @property
    def heading(self) -> str:
        return f"{self.group} {self.name}".strip()

    @property
    def width(self) -> int:
        """Its width in a terminal in characters; there a reduction has no heading."""
        headings = () if self.name == "fewer" else (self.group, self.name)
        return max(map(len, (*headings, *self.cells)))


def columns(results: RunResults) -> list[Column]:
    """The columns of the table over passes. A column without any content is left out."""
    rows, wide = results.rows, results.reference_size

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
        *(found for batch in batches for found in _latency_columns(column, batch)),
        column("ONNX", "bytes", lambda row: scaled(row.onnx_bytes)),
    ]
    return [column for column in found if any(column.cells)]


def table(results: RunResults, *, width: int = 80) -> Table | Text:
    """The table over passes for a terminal of `width` characters.

    The most important columns come first. The last ones are left out where they do not fit; the page has all.
    Where the errors do not fit, it is a list instead, with a line for each number.
    """
    from rich.table import Table

    if not _errors_fit(columns(results), width):
        return _as_lines(results)
    # With lines between the columns the table would be wider than 80 characters.
    caption = f"\n{CAPTION}\n{results.conclusion}"
    table = Table(box=None, caption=caption, caption_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    shown = columns(results)
    while sum(column.width + 1 for column in shown) > width + 1:
        shown.pop()
    for column in shown:
        ratio = column.name == "fewer"
        table.add_column(
            "" if ratio else f"{column.group}\n{column.name}",
            justify="left" if column.name == "pass" or ratio else "right",
            style="green" if ratio else "bold" if column.name == "tuned" else None,
            no_wrap=True,
        )
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*cells)
    return table


def markdown(results: RunResults) -> str:
    """The table over passes in Markdown, with its caption and the conclusion of the run."""
    shown = columns(results)
    lines = [
        [column.heading for column in shown],
        [":--" if column.name == "pass" else "--:" for column in shown],
        *zip(*(column.cells for column in shown), strict=True),
    ]
    return (
        "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{CAPTION}\n{results.conclusion}"
    )


def _errors_fit(shown: Sequence[Column], width: int) -> bool:
    """Whether the table has its columns of errors, and those before them, in `width` characters."""
    needed = max((index for index, column in enumerate(shown, 1) if column.group == "error"), default=1)
    return sum(column.width + 1 for column in shown[:needed]) <= width + 1


def _as_lines(results: RunResults) -> Text:
    """A block for each pass: its title, then a line for each number with its reduction."""
    from rich.text import Text

    title, *numbers = columns(results)
    indent = max((len(column.heading) for column in numbers if column.name != "fewer"), default=0)
    lines = []
    for index, name in enumerate(title.cells):
        lines.append(Text(name, style="bold"))
        for column, after in zip(numbers, [*numbers[1:], None], strict=True):
            if column.name == "fewer" or not column.cells[index]:
                continue
            ratio = after.cells[index] if after is not None and after.name == "fewer" else ""
            lines.append(Text(f"  {column.heading:<{indent}} {column.cells[index]} {ratio}".rstrip()))
    return Text("\n").join([*lines, Text(f"\n{CAPTION}\n{results.conclusion}", style="dim italic")])


def scaled(value: float) -> str:
    """Three significant digits and a unit: 8.70k, 4.76M, 1.20G."""
    for unit in ("", "k", "M", "G"):
        if abs(value) < 999.5 or unit == "G":
            break
        value /= 1000
    if not unit or abs(value) >= 99.95:
        return f"{value:.0f}{unit}"
    return f"{value:.{1 if abs(value) >= 9.995 else 2}f}{unit}"


def times(ratio: float) -> str:
    """A reduction: 2.8x, 29x, 104x."""
    return f"{ratio:.{1 if ratio < 9.95 else 0}f}x"


def significant(value: float, digits: int = 2) -> str:
    """Rounded to `digits` significant digits, without an exponent: 0.035, 26, 748."""
    return f"{value:.0f}" if value >= 10**digits - 0.5 else f"{value:#.{digits}g}".rstrip(".")


def _latency_columns(column: Callable[..., Column], batch: int) -> list[Column]:
    """Milliseconds for a batch, and how many times fewer than those of the wide network.

    The two latencies of a ratio were measured in turns. Those of two passes were not, and may differ by other
    work on the machine.
    """

    def fewer(row: PassResult) -> str:
        return times(row.speedup[batch]) if batch in row.speedup else ""

    return [
        column("ms", f"b={batch}", lambda row: _milliseconds(row, batch)),
        column(f"ms b={batch}", "fewer", fewer),
    ]


def _count(value: int) -> str:
    return f"{value:,}" if value < 1e6 else scaled(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _milliseconds(row: PassResult, batch: int) -> str:
    return significant(row.latency[batch].median_ms) if batch in row.latency else ""
