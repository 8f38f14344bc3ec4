"""The result of an experiment: rows with the paper's numbers beside ours, as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.provenance import bullets, markdown

__all__ = ["Result", "Row", "Table", "page", "spread"]

Number = float | None

PLOTS = "../../benchmarks/results/paper"
"""The folder of the plots, as seen from docs/measurements."""


@dataclass(frozen=True)
class Row:
    """One row: the paper's numbers by column (None where it has none), and ours, one for each seed."""

    name: str
    ours: Mapping[str, Sequence[float]]
    paper: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows under one heading. `columns` maps each column to its number format: {"error, %": ".2f"}."""

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Row]

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Table:
        return cls(stored["title"], stored["columns"], [Row(**row) for row in stored["rows"]])

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def markdown(self) -> str:
        in_paper = [
            column for column in self.columns if any(row.paper.get(column) is not None for row in self.rows)
        ]
        header = ["", "seeds"]
        for column in self.columns:
            header += [f"{column}: paper", "ours"] if column in in_paper else [column]
        lines = []
        for row in self.rows:
            cells = [row.name, str(max(map(len, row.ours.values())))]
            for column, form in self.columns.items():
                if column in in_paper:
                    value = row.paper.get(column)
                    cells.append("" if value is None else format(value, form))
                cells.append(spread(row.ours.get(column, ()), form))
            lines.append(cells)
        return f"**{self.title}**\n\n{markdown(header, lines)}"


@dataclass(frozen=True)
class Result:
    """The result of one experiment.

    Args:
        title: as in the paper.
        dataset: its exact name; a copy is called a copy.
        notes: sentences: how it was done, and how it differs from the paper.
        plots: names of image files.
    """

    title: str
    dataset: str
    notes: Sequence[str]
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()

    def to_json(self, facts: Mapping[str, str]) -> dict[str, Any]:
        return {
            "title": self.title,
            "facts": {"dataset": self.dataset, **facts},
            "notes": list(self.notes),
            "tables": [asdict(table) for table in self.tables],
            "plots": list(self.plots),
        }


def page(stored: Mapping[str, Any]) -> str:
    """A stored result as Markdown."""
    parts = [*stored["notes"], *(Table.from_json(table).markdown() for table in stored["tables"])]
    parts += [f"![{stored['title']}]({PLOTS}/{plot})" for plot in stored["plots"]]
    return "\n\n".join([*parts, bullets(stored["facts"])])


def spread(values: Sequence[float], form: str) -> str:
    """The mean, and the standard deviation over seeds where there are several values that differ."""
    if not values:
        return ""
    mean = format(statistics.fmean(values), form)
    if len(values) == 1 or max(values) == min(values):
        return mean
    return f"{mean} ± {format(statistics.stdev(values), form)}"
