"""The plot of `netslim sensitivity` has the errors of each layer, and the limit."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from netslim.pruning.sensitivity_table import LayerSensitivity, Sensitivity
from netslim.report import sensitivity_plot
from netslim.report.style import COLOURS

FOUND = Sensitivity(
    error=2.0,
    shares=(0.25, 0.5),
    rows=(
        LayerSensitivity("stem", "stem", 8, (6, 4), (2.5, 9.0)),
        LayerSensitivity("body (+1)", "body", 16, (12, 8), (2.0, 2.25)),
    ),
    max_increase=1.0,
)


def test_a_line_for_each_share_and_the_limit() -> None:
    figure = Figure()
    sensitivity_plot._draw(figure, FOUND, COLOURS)
    (axes,) = figure.axes
    lines = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
    assert lines == {
        "25 % of its channels removed": [2.5, 2.0],
        "50 % of its channels removed": [9.0, 2.25],
        "limit, 3": [3.0, 3.0],
    }
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["stem", "body (+1)"]
    assert len({line.get_color() for line in axes.lines}) == 3


def test_the_same_errors_give_the_same_image() -> None:
    image = sensitivity_plot.sensitivity_png(FOUND)
    assert image.startswith(b"\x89PNG")
    assert sensitivity_plot.sensitivity_png(FOUND) == image
