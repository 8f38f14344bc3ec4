"""The plots: what is drawn, and the labels of the axes."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch

from netslim import report
from netslim.report.figures import figures
from netslim.report.pass_plots import pareto_front
from netslim.report.style import COLOURS
from netslim.results.run_results import RunResults
from tests.helpers.report_runs import RUN, curve, row


def test_no_pass_beats_one_of_the_pareto_front() -> None:
    sizes = {"a": (10, 3.0), "b": (20, 3.5), "c": (20, 2.0), "d": (30, 2.0), "e": (40, 1.0), "f": (5, 9.0)}
    rows = [row(1, label=name, macs=macs, test=error) for name, (macs, error) in sizes.items()]
    beaten = {
        one.label
        for one in rows
        for other in rows
        if other.size.flops <= one.size.flops and other.errors.test <= one.errors.test and other is not one
    }
    assert [one.label for one in pareto_front(rows)] == ["f", "a", "c", "e"]
    assert set(sizes) - beaten == {"f", "a", "c", "e"}


def test_the_flops_of_each_layer_are_drawn() -> None:
    (axes,) = drawn("flops", RUN).axes
    steps = {
        step.get_label(): np.asarray(step.get_data()[0]).tolist()
        for step in axes.patches
        if isinstance(step, StepPatch)
    }
    wide, slim = [2_760_000, 2_000_000], [276_000, 200_000]
    assert steps == {"baseline": wide, "pass 1": slim, "pass 2": [27_600, 20_000]}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["features.0", "head"]


def test_plots_are_images_of_these_results() -> None:
    found = report.plots(RUN)
    names = "error-flops remaining-size layers flops training gammas-baseline gammas-pass-1 gammas-pass-2"
    assert list(found) == [f"plots/{name}.png" for name in names.split()]
    for name, image in found.items():
        pixels = matplotlib.image.imread(io.BytesIO(image))
        assert pixels.shape[0] > 300, name
        assert pixels[..., :3].std() > 0.02, name  # something is drawn
    assert report.plots(RUN) == found
    assert report.plots(RunResults()) == {}


def drawn(name: str, results: RunResults) -> Figure:
    """The figure of the plot `name`."""
    (plot,) = [plot for plot in figures(results) if plot.name == name]
    figure = Figure(figsize=plot.size)
    plot.draw(figure, results, COLOURS)
    return figure


@pytest.mark.parametrize("left", [0.999, 0.97, 0.92, 0.62, 0.4, 0.1, 0.001])
def test_a_logarithmic_axis_has_labels_on_every_range(left: float) -> None:
    """With 62 % left, 100 % was the only label; with 92 % left it is the only multiple of 10."""
    wide = {"channels": 10_000, "params": 10_000, "macs": 10_000}
    slim = {name: round(size * left) for name, size in wide.items()}
    (axes,) = drawn("remaining-size", RunResults((row(0, **wide), row(1, **slim)))).axes
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(ticks) == len(labels) == len(set(labels)) >= 3
    assert [float(label.removesuffix(" %")) for label in labels] == pytest.approx(ticks)


def test_the_training_plot_has_each_epoch_once_and_in_order() -> None:
    errors, sparsity = drawn("training", RUN).axes
    by_label: dict[str, list[list[float]]] = {}
    for axes in (errors, sparsity):
        for line in axes.lines:
            by_label.setdefault(str(line.get_color()), []).append(np.asarray(line.get_xdata()).tolist())
    for stages in by_label.values():  # train error, validation error, near zero: 4 epochs of 3 trainings
        assert stages == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert len(by_label) == 3
    assert [text.get_text() for text in errors.texts] == ["baseline", "pass 1\nsparse", "pass 2\nsparse"]
    assert [text.get_text() for text in errors.get_legend().get_texts()] == ["train", "validation"]


def test_a_training_of_one_epoch_can_be_seen() -> None:
    errors, _ = drawn("training", RunResults((row(1, curves={"sparse": curve(1)}),))).axes
    assert {(line.get_label(), line.get_marker()) for line in errors.lines} == {
        ("train", "o"),
        ("validation", "o"),
    }


def test_only_fine_tuning_is_shaded() -> None:
    tuned = row(1, curves={"sparse": curve(2), "fine_tune": curve(3)})
    errors, _ = drawn("training", RunResults((tuned,))).axes
    (shade,) = errors.patches
    assert isinstance(shade, Rectangle)
    assert (shade.get_x(), shade.get_width()) == (2, 3)
