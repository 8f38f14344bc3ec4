"""What a pruning does to each layer: its channels before, by rank and after, and the limit that decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LayerRow", "Report", "limits_of"]

_HEADER = ("layer", "before", "by rank", "after", "why")
_NAMES_OF_0_1 = {"have": "before", "want": "by_rank", "get": "after"}


@dataclass(frozen=True)
class LayerRow:
    """The channels of one layer, as counts of kept channels.

    Args:
        layer: the layer's name (its BatchNorm, or the first of the BatchNorms that are tied).
        before: channels before.
        by_rank: channels that the ranking alone would keep; may be 0.
        after: channels that are kept.
        why: the reason why `after` is not `by_rank`; empty when they are equal.
    """

    layer: str
    before: int
    by_rank: int
    after: int
    why: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerRow:
        """Read what `asdict` gives; the names of version 0.1.0 (have, want, get) are read as well."""
        return cls(**{_NAMES_OF_0_1.get(name, name): value for name, value in data.items()})


@dataclass(frozen=True)
class Report:
    """What was asked of a pruning, what was reached, one row per layer, and notes.

    `str(report)` is plain text for logs, `report.table()` is for a terminal, `report.to_json()` for files.

    Args:
        asked: the request, as in "50 % of 512 scaling factors (256), all layers ranked together".
        reached: the result in the same terms.
        limits: what kept the result from the request, each with its layers; empty when nothing did.
        held_back: channels that are still computed although nothing needs them, each with the reason.
        rows: one row per layer.
        notes: sentences about the whole network.
    """

    rows: tuple[LayerRow, ...] = ()
    notes: tuple[str, ...] = ()
    asked: str = ""
    reached: str = ""
    limits: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()

    @property
    def summary(self) -> tuple[str, ...]:
        """The request, the result, the limits, and what is held back, a line each."""
        lines = [f"asked: {self.asked}", f"reached: {self.reached}"] if self.asked else []
        lines += [f"limit: {limit}" for limit in self.limits]
        return *lines, *(f"held back: {held}" for held in self.held_back)

    def __str__(self) -> str:
        lines = [_HEADER, *map(_cells, self.rows), self._total()]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = ["  ".join((_pad(line, widths), line[4])).rstrip() for line in lines]
        return "\n".join([*self.summary, *text, *(f"note: {note}" for note in self.notes)])

    def table(self) -> Table:
        """The report as a `rich` table: the summary is its title, the notes are its caption."""
        from rich.table import Table

        title, caption = "\n".join(self.summary) or None, "\n".join(self.notes) or None
        table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
        for name in _HEADER:
            table.add_column(name, justify="left" if name in ("layer", "why") else "right")
        for row in self.rows:
            table.add_row(*_cells(row), style=None if row.after != row.before else "dim")
        table.add_section()
        table.add_row(*self._total(), style="bold")
        return table

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data; `Report.from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read what `to_json` wrote, here or in version 0.1.0."""
        rows = tuple(LayerRow.from_json(row) for row in data["rows"])
        asked, reached = data.get("asked", ""), data.get("reached", "")
        limits, held_back = (tuple(data.get(name, ())) for name in ("limits", "held_back"))
        return cls(rows, tuple(data["notes"]), asked, reached, limits, held_back)

    def _total(self) -> tuple[str, str, str, str, str]:
        before, by_rank, after = (
            sum(getattr(row, name) for row in self.rows) for name in ("before", "by_rank", "after")
        )
        return f"{len(self.rows)} layers", str(before), str(by_rank), str(after), ""


def limits_of(rows: tuple[LayerRow, ...]) -> tuple[str, ...]:
    """The reasons why layers keep more channels than the ranking alone would keep, each with its extent."""
    more: dict[str, list[int]] = {}
    for row in rows:
        if row.after > row.by_rank:
            more.setdefault(row.why, []).append(row.after - row.by_rank)
    return tuple(
        f"{why} ({_count(sum(channels), 'channel')} more in {_count(len(channels), 'layer')})"
        for why, channels in more.items()
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _cells(row: LayerRow) -> tuple[str, str, str, str, str]:
    return row.layer, str(row.before), str(row.by_rank), str(row.after), row.why


def _pad(line: tuple[str, str, str, str, str], widths: list[int]) -> str:
    name, *numbers = line[:4]
    padded = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *padded])
