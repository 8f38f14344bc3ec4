"""Axes that several plots share: logarithmic ones with readable labels, and the axis of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullFormatter

__all__ = ["layer_axis", "log_axis", "with_unit"]

MOST_NAMES = 40  # layer names that fit side by side
FEWEST_LABELS = 3  # with fewer labels a logarithmic axis cannot be read


def log_axis(axes: Axes, which: Literal["x", "y"], label: Callable[[float], str]) -> None:
    """Make an axis logarithmic and label it; to be called after everything is drawn.

    The labels are at 1, 2 and 5 of each power of ten. On a short range these may be one label or none: then
    they are at 1, 2, ..., 9, and if these are too few as well, at even steps.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    choices: list[Locator] = [
        LogLocator(10, subs=(1, 2, 5)),
        LogLocator(10, subs=range(1, 10)),
        MaxNLocator(5, steps=(1, 2, 5, 10)),
    ]
    for locator in choices:
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        if len(ticks) >= FEWEST_LABELS:
            break
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_formatter(NullFormatter())


def layer_axis(axes: Axes, names: Sequence[str], ylabel: str, *, legend: bool) -> None:
    """Make x the axis of layers, from input to output. Their names are left out where they do not fit."""
    if named := len(names) <= MOST_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.grid(axis="x", visible=False)
    xlabel = "" if named else "layer, input to output"
    axes.set(ylabel=ylabel, xlabel=xlabel, xlim=(-0.5, len(names) - 0.5))
    if legend:
        axes.legend()


def with_unit(value: float) -> str:
    """The label of a tick: 500k, 1M, 20M."""
    thousands = max(0, min(3, int(f"{value:e}".partition("e")[2]) // 3))
    return f"{value / 1000**thousands:g}{['', 'k', 'M', 'G'][thousands]}"
