"""The plot of `netslim sensitivity`: the error with one layer pruned alone, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from netslim.report.axes import layer_axis
from netslim.report.style import COLOURS, WIDE, Colours, drawn, pass_colour

if TYPE_CHECKING:
    from netslim.pruning.sensitivity_table import Sensitivity

__all__ = ["sensitivity_png"]


def sensitivity_png(found: Sensitivity) -> bytes:
    """A PNG image with a line for each share that was removed, and the limit that the proposal keeps."""
    return drawn(lambda figure: _draw(figure, found, COLOURS), "sensitivity", WIDE, COLOURS, "png")


def _draw(figure: Figure, found: Sensitivity, colours: Colours) -> None:
    axes, limit = figure.subplots(), found.error + found.max_increase
    darkest = max(1, len(found.shares) - 1)
    for number, share in enumerate(found.shares):
        errors = [row.errors[number] for row in found.rows]
        label = f"{100 * share:.4g} % of its channels removed"
        colour = pass_colour(colours, 1 + round(5 * number / darkest))
        axes.plot(errors, color=colour, marker="o", markersize=4, label=label)
    axes.axhline(limit, color=colours["two"], linewidth=1, linestyle="--", label=f"limit, {limit:.4g}")
    axes.set_ylim(bottom=0)
    layer_axis(axes, [row.layer for row in found.rows], "error with this layer pruned", legend=True)
