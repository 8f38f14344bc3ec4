"""Plots over passes, or over the points of a sweep. Each function draws one plot into an empty figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from netslim.report.axes import layer_axis, log_axis, with_unit
from netslim.report.style import Colours, pass_colour
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = [
    "draw_channels_per_layer",
    "draw_error_against_flops",
    "draw_flops_per_layer",
    "draw_remaining_size",
    "draw_scaling_factors",
    "pareto_front",
]

MOST_IN_A_LEGEND = 7


def draw_error_against_flops(figure: Figure, results: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    front = pareto_front(results.rows)
    line = [result.size.flops for result in front], [result.errors.test for result in front]
    axes.step(*line, where="post", color=colours["muted"], linewidth=1, zorder=1)
    background = {"facecolor": colours["surface"], "edgecolor": "none", "pad": 0.8}
    for result in results.rows:
        point = (result.size.flops, result.errors.test)
        colour = _colour(colours, result)
        axes.scatter(*point, s=55, color=colour, edgecolor=colours["surface"], zorder=3)
        above = (0, 8)
        axes.annotate(
            result.title, point, above, textcoords="offset points", ha="center", bbox=background, zorder=2
        )
    axes.set_xscale("log")
    axes.margins(x=0.14)
    log_axis(axes, "x", with_unit)
    highest = max(result.errors.test for result in results.rows)
    axes.set(xlabel="FLOPs for one image", ylabel="test error, %", ylim=(0, 1.2 * highest or 1))


def draw_remaining_size(figure: Figure, results: RunResults, colours: Colours) -> None:
    axes, wide = figure.subplots(), results.reference_size
    assert wide is not None
    steps = [result.index for result in results.rows]
    if not results.baseline:  # the wide network itself is the first point
        steps.insert(0, 0)
    series = (
        ("channels", "channels", "three", "^"),
        ("params", "parameters", "one", "o"),
        ("flops", "FLOPs", "two", "s"),
    )
    for name, label, colour, marker in series:
        percentages = [100 * getattr(result.size, name) / getattr(wide, name) for result in results.rows]
        if not results.baseline:
            percentages.insert(0, 100.0)
        axes.plot(steps, percentages, marker=marker, markersize=5, color=colours[colour], label=label)
    log_axis(axes, "y", lambda value: f"{value:g} %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="pass", ylabel="of the wide network")
    axes.legend()


def draw_channels_per_layer(figure: Figure, results: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    pruned = [result for result in results.rows if result.layers]
    first = pruned[0].layers
    edges = [position - 0.5 for position in range(len(first) + 1)]
    wide = [layer.before for layer in first]
    axes.stairs(wide, edges, fill=True, color=colours["pass0"], alpha=0.35, label="wide")
    for result in pruned:
        after = {layer.layer: layer.after for layer in result.layers}
        channels = [after.get(layer.layer, layer.before) for layer in first]
        colour = _colour(colours, result)
        axes.stairs(channels, edges, color=colour, linewidth=1.8, label=result.title)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    names = [layer.layer for layer in first]
    layer_axis(axes, names, "channels", legend=len(pruned) <= MOST_IN_A_LEGEND)


def draw_flops_per_layer(figure: Figure, results: RunResults, colours: Colours) -> None:
    axes = figure.subplots()
    counted = [result for result in results.rows if result.layer_macs]
    names = list(counted[0].layer_macs)
    edges = [position - 0.5 for position in range(len(names) + 1)]
    for result in counted:
        flops = [2 * result.layer_macs.get(name, 0) for name in names]
        if result.index == 0:
            axes.stairs(flops, edges, fill=True, color=colours["pass0"], alpha=0.35, label=result.title)
        else:
            colour = _colour(colours, result)
            axes.stairs(flops, edges, color=colour, linewidth=1.8, label=result.title)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: with_unit(value) if value else "0"))
    layer_axis(axes, names, "FLOPs for one image", legend=len(counted) <= MOST_IN_A_LEGEND)


def draw_scaling_factors(figure: Figure, results: RunResults, colours: Colours, result: PassResult) -> None:
    """The histogram of one pass, on the x axis of the largest factor of all passes."""
    axes = figure.subplots()
    assert result.gammas is not None
    axes.stairs(result.gammas.counts, result.gammas.edges, fill=True, color=colours["one"])
    if result.threshold is not None:
        label = f"pruned up to {result.threshold:.2g}"
        axes.axvline(result.threshold, color=colours["two"], linewidth=1.4, label=label)
        axes.legend()
    largest = max(histogram.edges[-1] for other in results.rows if (histogram := other.gammas))
    axes.set(xlabel="|gamma|", ylabel="scaling factors", yscale="symlog", xlim=(0, largest), ylim=(0, None))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def pareto_front(passes: Sequence[PassResult]) -> list[PassResult]:
    """The passes that no other one beats in both FLOPs and test error, from the fewest FLOPs on."""
    front: list[PassResult] = []
    for result in sorted(passes, key=lambda result: (result.size.flops, result.errors.test)):
        if not front or result.errors.test < front[-1].errors.test:
            front.append(result)
    return front


def _colour(colours: Colours, result: PassResult) -> str:
    """Passes have an order, and so have their colours; the points of a sweep have one colour."""
    return colours["one"] if result.label else pass_colour(colours, result.index)
