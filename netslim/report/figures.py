"""The plots of a report: which ones a run has data for, with titles and captions."""

from __future__ import annotations

import re
from functools import partial

from netslim.report.pass_plots import (
    draw_channels_per_layer,
    draw_error_against_flops,
    draw_flops_per_layer,
    draw_remaining_size,
    draw_scaling_factors,
)
from netslim.report.style import WIDE, Plot
from netslim.report.training_plot import draw_training
from netslim.results.run_results import RunResults

__all__ = ["figures", "plots"]

LOW = (4.4, 2.1)  # inches


def plots(results: RunResults) -> dict[str, bytes]:
    """PNG images by their paths among the artifacts in MLflow: plots/layers.png, ..."""
    return {f"plots/{plot.name}.png": plot.png(results) for plot in figures(results)}


def figures(results: RunResults) -> list[Plot]:
    """The plots that these results have data for."""
    passes = results.rows
    is_sweep = any(result.label for result in passes)
    chosen: list[Plot] = []
    if len(passes) > 1:
        caption = "Lower left is better. The line is the Pareto front: no other point is better in both."
        chosen.append(Plot("error-flops", "Error against FLOPs", caption, draw_error_against_flops))
    if len(passes) > 1 and not is_sweep:
        caption = "Size after each pass, as a percentage of the wide network."
        chosen.append(Plot("remaining-size", "Remaining size", caption, draw_remaining_size))
    if any(result.layers for result in passes):
        caption = "Channels of each prunable layer, before and after each pass."
        chosen.append(Plot("layers", "Channels per layer", caption, draw_channels_per_layer, WIDE))
    if any(result.layer_macs for result in passes):
        caption = "FLOPs of each convolution and linear layer, for one image, before and after each pass."
        chosen.append(Plot("flops", "FLOPs per layer", caption, draw_flops_per_layer, WIDE))
    if any(result.curves for result in passes):
        caption = "Train and validation error, and the share of scaling factors near zero, for each epoch."
        chosen.append(Plot("training", "Training", caption, draw_training, WIDE))
    for result in passes:
        if result.gammas:
            caption = "Histogram of the absolute scaling factors after sparse training, before pruning."
            name = f"gammas-{re.sub('[^0-9a-z.-]+', '-', result.title)}"
            draw = partial(draw_scaling_factors, result=result)
            chosen.append(Plot(name, f"Scaling factors, {result.title}", caption, draw, LOW))
    return chosen
