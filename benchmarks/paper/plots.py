"""The common style of the plots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from netslim.report.style import COLOURS

__all__ = ["COLOURS", "figure_file"]


@contextmanager
def figure_file(file: Path, title: str, size: tuple[float, float] = (6.4, 3.2)) -> Iterator[Figure]:
    """Yield a figure to draw on; it is written to `file`, a PNG, when the block ends."""
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=9, color=COLOURS["muted"])
        yield figure
        figure.savefig(file, dpi=110)
