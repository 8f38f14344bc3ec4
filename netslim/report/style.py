"""Colours and style of the plots: one drawing becomes an SVG with the page's colours, or a PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from netslim.results.run_results import RunResults

__all__ = ["COLOURS", "WIDE", "Colours", "Plot", "drawn", "pass_colour"]

Colours = Mapping[str, str]

# Colours by use; page.html has the dark ones under the same names. `pass0` to `pass6` go from the baseline's
# grey to dark blue, because passes have an order.
COLOURS = {
    "surface": "#ffffff",
    "ink": "#1f2328",
    "muted": "#59636e",
    "grid": "#e3e6ea",
    "one": "#2a6fdb",
    "two": "#c2410c",
    "three": "#15803d",
    "four": "#7c3aed",
    "pass0": "#9aa4af",
    "pass1": "#9ac3f7",
    "pass2": "#6aa5ee",
    "pass3": "#3f83e0",
    "pass4": "#2365c4",
    "pass5": "#194c99",
    "pass6": "#11356d",
}
WIDE = (9.6, 3.4)  # inches
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text elements, which use the page's font
}


@dataclass(frozen=True)
class Plot:
    """One plot of the results of a run.

    Args:
        name: of its file, without the ending; also the prefix of the ids in its SVG.
        title, caption: text above the plot in the page.
        draw: draws it into an empty figure.
        size: width and height in inches.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Figure, RunResults, Colours], None]
    size: tuple[float, float] = (4.4, 2.9)  # a phone shows this size without scaling

    def svg(self, results: RunResults) -> str:
        """An <svg> element with the page's CSS variables as colours and ids that are unique in the page."""
        placeholders = {name: f"#fe{number:04x}" for number, name in enumerate(COLOURS)}
        names = {code: name for name, code in placeholders.items()}
        text = self._saved(results, placeholders, "svg").decode()
        text = text[text.index("<svg") :]
        text = re.sub(r"#fe[0-9a-f]{4}", lambda match: f"var(--{names[match[0]]})", text)
        text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{self.name}-", text)
        return text.replace("<svg ", f'<svg role="img" aria-label="{escape(self.title)}" ', 1)

    def png(self, results: RunResults) -> bytes:
        return self._saved(results, COLOURS, "png")

    def _saved(self, results: RunResults, colours: Colours, kind: str) -> bytes:
        return drawn(lambda figure: self.draw(figure, results, colours), self.name, self.size, colours, kind)


def drawn(
    draw: Callable[[Figure], None], name: str, size: tuple[float, float], colours: Colours, kind: str
) -> bytes:
    """An image of what `draw` draws into an empty figure; the same drawing gives the same bytes.

    Args:
        size: width and height in inches.
        kind: "png" or "svg".
    """
    coloured = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), colours["ink"]),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), colours["muted"]),
        **dict.fromkeys(("axes.facecolor", "figure.facecolor"), colours["surface"]),
        "grid.color": colours["grid"],
        "svg.hashsalt": name,
    }
    style: dict[Any, Any] = STYLE | coloured
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else {})
    return stream.getvalue()


def pass_colour(colours: Colours, index: int) -> str:
    return colours[f"pass{min(index, 6)}"]
