"""The plots over passes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from netslim.report.style import Colours, Plot, pass_colour
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = ["figures", "front", "plots"]

WIDE = (9.6, 3.4)
LOW = (4.4, 2.1)


def plots(ledger: RunResults) -> dict[str, bytes]:
    """PNG images by the path of their file, for MLflow."""
    return {f"plots/{plot.name}.png": plot.png(ledger) for plot in figures(ledger)}


def figures(ledger: RunResults) -> list[Plot]:
    """The plots that this ledger has data for."""
    rows = ledger.rows
    found: list[Plot] = []
    if len(rows) > 1:
        says = "Lower left is better. The line is the Pareto front: no other point is better in both."
        found.append(Plot("error-flops", "Error against FLOPs", says, _error_flops))
    if len(rows) > 1 and not any(row.label for row in rows):
        says = "What is left of the wide network, each pass from the one before."
        found.append(Plot("shrinking", "What is left after each pass", says, _shrinking))
    if any(row.layers for row in rows):
        says = "Channels of each layer that can be pruned, before and after."
        found.append(Plot("layers", "Channels per layer", says, _layers, WIDE))
    if any(row.layer_macs for row in rows):
        says = "FLOPs of each convolution and linear layer, for one image, before and after each pass."
        found.append(Plot("flops", "Where the FLOPs went", says, _flops, WIDE))
    if any(row.curves for row in rows):
        says = "Over the epochs of the whole run: training error, and the share of scaling factors near zero."
        found.append(Plot("training", "Training", says, _training, WIDE))
    for row in rows:
        if row.gammas:
            says = "How many scaling factors have which size when training ends, before pruning."
            name = f"gammas-{re.sub('[^0-9a-z.-]+', '-', row.title)}"
            found.append(Plot(name, f"Scaling factors, {row.title}", says, partial(_gammas, row=row), LOW))
    return found


def _error_flops(figure: Figure, ledger: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    best = front(ledger.rows)
    line = [row.size.flops for row in best], [row.errors.test for row in best]
    axes.step(*line, where="post", color=colours["muted"], linewidth=1, zorder=1)
    for row in ledger.rows:
        colour = pass_colour(colours, row.index) if not row.label else colours["one"]
        place = (row.size.flops, row.errors.test)
        axes.scatter(*place, s=55, color=colour, edgecolor=colours["surface"], zorder=3)
        paper = {"facecolor": colours["surface"], "edgecolor": "none", "pad": 0.8}
        axes.annotate(row.title, place, (0, 8), textcoords="offset points", ha="center", bbox=paper, zorder=2)
    _logarithmic(axes, "x", _power)
    axes.margins(x=0.14)
    highest = max(row.errors.test for row in ledger.rows)
    axes.set(xlabel="FLOPs for one image", ylabel="test error, %", ylim=(0, 1.2 * highest or 1))


def _shrinking(figure: Figure, ledger: RunResults, colours: Colours) -> None:
    axes, rows, wide = figure.subplots(), ledger.rows, ledger.reference_size
    assert wide is not None
    series = [("channels", "three", "^"), ("params", "one", "o"), ("flops", "two", "s")]
    start = [] if ledger.baseline else [0]  # without a baseline the wide network itself is the first point
    steps = [*start, *(row.index for row in rows)]
    for name, colour, marker in series:
        whole = getattr(wide, name) / 100
        left = [*(100.0 for _ in start), *(getattr(row.size, name) / whole for row in rows)]
        label = "FLOPs" if name == "flops" else name
        axes.plot(steps, left, marker=marker, markersize=5, color=colours[colour], label=label)
    _logarithmic(axes, "y", lambda value: f"{value:g} %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pass", ylabel="of the wide network")
    axes.legend()


def _layers(figure: Figure, ledger: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    pruned = [row for row in ledger.rows if row.layers]
    first = pruned[0].layers
    names, edges = [layer.layer for layer in first], [place - 0.5 for place in range(len(first) + 1)]
    wide = [layer.before for layer in first]
    axes.stairs(wide, edges, fill=True, color=colours["pass0"], alpha=0.35, label="wide")
    for row in pruned:
        kept = {layer.layer: layer.after for layer in row.layers}
        colour = colours["one"] if row.label else pass_colour(colours, row.index)
        widths = [kept.get(layer.layer, layer.before) for layer in first]
        axes.stairs(widths, edges, color=colour, linewidth=1.8, label=row.title)
    _by_layer(axes, names, "channels", legend=len(pruned) <= 7)


def _flops(figure: Figure, ledger: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    counted = [row for row in ledger.rows if row.layer_macs]
    names = list(counted[0].layer_macs)
    edges = [place - 0.5 for place in range(len(names) + 1)]
    for row in counted:
        flops = [2 * row.layer_macs.get(name, 0) for name in names]
        if row.index == 0:
            axes.stairs(flops, edges, fill=True, color=colours["pass0"], alpha=0.35, label=row.title)
        else:
            colour = colours["one"] if row.label else pass_colour(colours, row.index)
            axes.stairs(flops, edges, color=colour, linewidth=1.8, label=row.title)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value) if value else "0"))
    _by_layer(axes, names, "FLOPs for one image", legend=len(counted) <= 7)


def _by_layer(axes: Axes, names: Sequence[str], what: str, *, legend: bool) -> None:
    """The axis of layers, from input to output; so many that nobody could read them have no names."""
    if few := len(names) <= 40:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.grid(axis="x", visible=False)
    axes.set(ylabel=what, xlabel="" if few else "layer, input to output", xlim=(-0.5, len(names) - 0.5))
    if legend:
        axes.legend()


def _training(figure: Figure, ledger: RunResults, colours: Colours) -> None:
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    stages = [(row, stage, curve) for row in ledger.rows for stage, curve in row.curves.items() if curve]
    starts = [0, *accumulate(len(curve) for _, _, curve in stages)]
    series = [(above, "train/error", "one", "training"), (above, "val/error", "two", "validation")]
    series += [(below, "sparsity/near_zero_share", "three", "near zero")]
    for axes, key, colour, label in series:
        for (_, _, curve), start in zip(stages, starts, strict=False):
            points = [(start + place, epoch[key]) for place, epoch in enumerate(curve, 1) if key in epoch]
            if points:
                axes.plot(*zip(*points, strict=True), color=colours[colour], linewidth=1.4, label=label)
                label = ""
    for (row, stage, _), (start, end) in zip(stages, pairwise(starts), strict=True):
        for axes in (above, below):
            shade = 0.09 if stage == "fine_tune" else 0
            axes.axvspan(start, end, color=colours["muted"], alpha=shade, linewidth=0)
        told = {"base": "baseline", "sparse": "sparse", "fine_tune": "fine-tune"}.get(stage, stage)
        text = told if row.index == 0 else f"{row.title}\n{told}"
        middle = ((start + end) / 2, 1)
        above.annotate(text, middle, xycoords=("data", "axes fraction"), ha="center", fontsize=7)
    above.set(ylabel="error, %", yscale="symlog", ylim=(0, None), xlim=(0, starts[-1]))
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    above.legend(loc="upper right")
    below.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    below.set(xlabel="epochs of the whole run", ylabel="factors near zero", ylim=(0, 1))


def _gammas(figure: Figure, ledger: RunResults, colours: Colours, row: PassResult) -> None:
    axes = figure.subplots()
    assert row.gammas is not None
    axes.stairs(row.gammas.counts, row.gammas.edges, fill=True, color=colours["one"])
    if row.threshold is not None:
        told = f"pruned up to {row.threshold:.2g}"
        axes.axvline(row.threshold, color=colours["two"], linewidth=1.4, label=told)
        axes.legend()
    largest = max(histogram.edges[-1] for other in ledger.rows if (histogram := other.gammas))
    axes.set(xlabel="|gamma|", ylabel="factors", yscale="symlog", xlim=(0, largest), ylim=(0, None))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def front(rows: Sequence[PassResult]) -> list[PassResult]:
    """Those that no other row beats in both FLOPs and error, from the fewest FLOPs on."""
    found: list[PassResult] = []
    for row in sorted(rows, key=lambda row: (row.size.flops, row.errors.test)):
        if not found or row.errors.test < found[-1].errors.test:
            found.append(row)
    return found


def _power(value: float) -> str:
    """A tick's value: 500k, 1M, 20M."""
    thousands = max(0, min(3, int(f"{value:e}".partition("e")[2]) // 3))
    return f"{value / 1000**thousands:g}{['', 'k', 'M', 'G'][thousands]}"


def _logarithmic(axes: Axes, which: str, told: Callable[[float], str]) -> None:
    """A logarithmic axis with readable ticks: 1, 2 and 5 of each power of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    axis.set_minor_formatter(NullFormatter())
