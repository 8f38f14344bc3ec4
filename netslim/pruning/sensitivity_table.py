"""The result of `netslim.sensitivity`: the errors by layer and share, and the share that is proposed."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netslim.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["LayerSensitivity", "Sensitivity", "check_increase"]

ROUNDING = 1e-9
"""Slack for binary fractions: 2.3 - 1.3 is slightly more than 1.0."""


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer, or the layers of one group of tied channels.

    Args:
        layer: its name, as in the report of `netslim.prune`.
        norm: the path of its (first) BatchNorm; "" if that is a function which the network itself calls.
        channels: its channels.
        kept: how many of them were kept at each share.
        errors: the error at each share; that of the whole network where no channel was removed.
    """

    layer: str
    norm: str
    channels: int
    kept: tuple[int, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Sensitivity:
    """The errors of a network in which one layer at a time lost channels.

    `print(found)` shows the table, `found.table()` is one for a terminal, `found.to_json()` is for files.

    Args:
        error: of the whole network.
        shares: the shares of a layer's channels that were removed, ascending.
        rows: one for each layer that can be pruned, in the order of the network.
        max_increase: the increase of the error that each layer may cause, for the proposal.
        notes: sentences about the whole network.
    """

    error: float
    shares: tuple[float, ...]
    rows: tuple[LayerSensitivity, ...]
    max_increase: float
    notes: tuple[str, ...] = ()

    def layers(self, max_increase: float | None = None) -> dict[str, float]:
        """For each layer the largest share that was tried and raises the error by at most `max_increase`.

        0.0 where no share does. The mapping is an option of `netslim.prune`, `layers`: its keys are the paths
        of BatchNorms. Each share was measured with the other layers whole: all of them together raise the
        error more.

        Args:
            max_increase: in the unit of the error; by default that of the measurement.

        Raises:
            ConfigError: it is negative or not finite.
        """
        allowed = self.max_increase if max_increase is None else max_increase
        check_increase(allowed)
        proposed: dict[str, float] = {}
        # Of several patterns that match tied layers the last one counts, and each group has the key of its
        # first BatchNorm: so the first BatchNorms are written last.
        for row in reversed(self.rows):
            if row.norm:  # without a name there is no pattern
                share, pattern = self.share_of(row, allowed), glob.escape(row.norm)
                proposed[pattern] = min(share, proposed.pop(pattern, share))
        return proposed

    def share_of(self, row: LayerSensitivity, max_increase: float | None = None) -> float:
        """The share that is proposed for one row, see `layers`."""
        limit = self.error + (self.max_increase if max_increase is None else max_increase) + ROUNDING
        tried = zip(self.shares, row.errors, strict=True)
        return max((share for share, error in tried if error <= limit), default=0.0)

    def __str__(self) -> str:
        lines = [self._header, *map(self._cells, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self._header))]
        text = []
        for name, *numbers in lines:
            cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
            text.append("  ".join([name.ljust(widths[0]), *cells]))
        return "\n".join([self.summary, *text, *(f"note: {note}" for note in self.notes)])

    @property
    def summary(self) -> str:
        """The error of the whole network, and what the last column means, in a line."""
        limit = f"shares that raise it by {self.max_increase:g} at most"
        return f"error {self.error:.2f} of the whole network; {limit}"

    def table(self) -> Table:
        """The table for a terminal (`rich`). Errors above the limit are red."""
        from rich.table import Table
        from rich.text import Text

        table, limit = Table(box=None, pad_edge=False), self.error + self.max_increase + ROUNDING
        for name in self._header:
            table.add_column(Text(name), justify="left" if name == "layer" else "right")
        for row in self.rows:
            styles = ["", "", *("red" if error > limit else "" for error in row.errors), "bold"]
            cells = zip(self._cells(row), styles, strict=True)
            table.add_row(*(Text(text, style) for text, style in cells))
        return table

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "error": self.error,
            "max_increase": self.max_increase,
            "shares": list(self.shares),
            "rows": [
                {
                    "layer": row.layer,
                    "norm": row.norm,
                    "channels": row.channels,
                    "kept": list(row.kept),
                    "errors": list(row.errors),
                    "share": self.share_of(row),
                }
                for row in self.rows
            ],
            "layers": self.layers(),
            "notes": list(self.notes),
        }

    @property
    def _header(self) -> Sequence[str]:
        return ("layer", "channels", *(f"-{100 * share:.4g} %" for share in self.shares), "share")

    def _cells(self, row: LayerSensitivity) -> Sequence[str]:
        errors = (f"{error:.2f}" for error in row.errors)
        return (row.layer, str(row.channels), *errors, f"{self.share_of(row):g}")


def check_increase(value: object) -> None:
    """Refuse what is not a valid increase of an error.

    Raises:
        ConfigError: it is negative or not finite.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:  # type: ignore[operator]
        remedy = "Write 1 for one unit of the error, such as a percentage point"
        raise ConfigError("must be a number from 0 on", field="max_increase", value=value, remedy=remedy)
