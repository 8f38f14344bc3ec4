"""What happens to each layer, before anything is changed: have, want, get, and why they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LayerRow", "Report"]

_HEADER = ("layer", "have", "want", "get", "why")


@dataclass(frozen=True)
class LayerRow:
    """One layer's channels, as counts that are kept.

    Args:
        layer: the layer's name (its BatchNorm, or the BatchNorms that share one choice).
        have: channels before.
        want: channels the ranking alone would keep; may be 0.
        get: channels that are kept.
        why: the reason for `get` not being `want`; empty when they are equal.
    """

    layer: str
    have: int
    want: int
    get: int
    why: str = ""


@dataclass(frozen=True)
class Report:
    """The preflight table of a pruning: one row per layer, and notes on the whole.

    `str(report)` is plain text for logs, `report.table()` is for a terminal, `report.to_json()` for files.
    """

    rows: tuple[LayerRow, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [_HEADER, *map(_cells, self.rows), self._total()]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = ["  ".join((_pad(line, widths), line[4])).rstrip() for line in lines]
        return "\n".join([*text, *(f"note: {note}" for note in self.notes)])

    def table(self) -> Table:
        """The report as a `rich` table; the notes are its caption."""
        from rich.table import Table

        table = Table(caption="\n".join(self.notes) or None, caption_justify="left")
        for title in _HEADER:
            table.add_column(title, justify="right" if title in ("have", "want", "get") else "left")
        for row in self.rows:
            table.add_row(*_cells(row), style=None if row.get != row.have else "dim")
        table.add_section()
        table.add_row(*self._total(), style="bold")
        return table

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data; `Report.from_json` reads it back."""
        return {"rows": [vars(row) for row in self.rows], "notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        return cls(tuple(LayerRow(**row) for row in data["rows"]), tuple(data["notes"]))

    def _total(self) -> tuple[str, str, str, str, str]:
        have, want, get = (sum(getattr(row, column) for row in self.rows) for column in _HEADER[1:4])
        return f"{len(self.rows)} layers", str(have), str(want), str(get), ""


def _cells(row: LayerRow) -> tuple[str, str, str, str, str]:
    return row.layer, str(row.have), str(row.want), str(row.get), row.why


def _pad(line: tuple[str, str, str, str, str], widths: list[int]) -> str:
    name, *numbers = line[:4]
    padded = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *padded])
