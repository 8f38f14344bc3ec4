"""What an experiment comes to: rows with the paper's numbers beside ours, and how they are written."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.provenance import markdown
from netslim.files import write_json

__all__ = ["Result", "Row", "Table", "spread"]

Number = float | None


@dataclass(frozen=True)
class Row:
    """One row: the paper's numbers by column (None where it has none), and ours, one for each seed."""

    name: str
    ours: Mapping[str, Sequence[float]]
    paper: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows under one heading. `columns` has the number format of each column: {"error, %": ".2f"}."""

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Row]

    def markdown(self) -> str:
        told = [
            column for column in self.columns if any(row.paper.get(column) is not None for row in self.rows)
        ]
        header = ["", "seeds"]
        for column in self.columns:
            header += [f"{column}: paper", "ours"] if column in told else [column]
        lines = []
        for row in self.rows:
            cells = [row.name, str(max(map(len, row.ours.values())))]
            for column, form in self.columns.items():
                if column in told:
                    value = row.paper.get(column)
                    cells.append("" if value is None else format(value, form))
                cells.append(spread(row.ours.get(column, ()), form))
            lines.append(cells)
        return f"**{self.title}**\n\n{markdown(header, lines)}"


@dataclass(frozen=True)
class Result:
    """An experiment's outcome.

    Args:
        title: as the paper calls it.
        dataset: its honest name.
        says: sentences: what was done, and how it differs from the paper.
        tables: what was found.
        plots: names of image files.
    """

    title: str
    dataset: str
    says: Sequence[str]
    tables: Sequence[Table] = ()
    plots: Sequence[str] = ()

    def write(self, name: str, output: Path, told: Mapping[str, str]) -> str:
        """Write <name>.json and <name>.md into `output`; the text of the latter."""
        facts = {"dataset": self.dataset, **told}
        lines = [f"## {self.title}", *self.says, *(table.markdown() for table in self.tables)]
        lines += [f"![{self.title}](../../../docs/images/results/{plot})" for plot in self.plots]
        lines.append("\n".join(f"- {key}: {value}" for key, value in facts.items()))
        text = "\n\n".join(lines) + "\n"
        output.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {"title": self.title, "facts": facts, "says": list(self.says)}
        write_json(output / f"{name}.json", document | {"tables": [asdict(table) for table in self.tables]})
        (output / f"{name}.md").write_text(text, encoding="utf-8")
        return text


def spread(values: Sequence[float], form: str) -> str:
    """The mean, and the standard deviation of one value from it where there are several that differ."""
    if not values:
        return ""
    mean = format(statistics.fmean(values), form)
    if len(values) == 1 or max(values) == min(values):
        return mean
    return f"{mean} ± {format(statistics.stdev(values), form)}"
