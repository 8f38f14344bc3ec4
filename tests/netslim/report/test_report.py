"""The report: the numbers of the tables and plots, and a page that loads nothing."""

from __future__ import annotations

import dataclasses
import io
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from rich.console import Console

from netslim import report
from netslim.pruning.layer_report import LayerRow
from netslim.report.figures import figures
from netslim.report.pass_plots import pareto_front
from netslim.report.style import COLOURS
from netslim.report.tables import scaled, significant
from netslim.results.measures import Histogram, Latency, Size
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from tests.helpers.results import pass_result


def row(index: int, **more: Any) -> PassResult:
    """Sizes fall to a tenth with every pass."""
    now = 10**index
    values: dict[str, Any] = {
        "channels": 400 // (index + 1),
        "params": 288_170 // now,
        "macs": 2_380_000 // now,
        "test": 0.5 + index / 4,
        "trained": 0.5 + index / 8,
        "onnx_bytes": 1_157_000 // now,
        "measured_at": index,
        "latency_ms": {1: 0.24 / (index + 1), 32: 4.2 / (index + 1)},
        "layer_macs": {"features.0": 1_380_000 // now, "head": 1_000_000 // now},
        "gammas": Histogram(edges=(0.0, 0.5, 1.0), counts=(index, 9)),
        "curves": {("sparse" if index else "base"): curve(4)},
    }
    if index:
        values |= {
            # The milliseconds of two passes do not compare: here the baseline was measured beside a training.
            "wide_latency": {1: Latency(median_ms=0.36), 32: Latency(median_ms=4.2)},
            "pruned": 0.75,
            "size_before": Size(channels=400 // index, params=2_881_700 // now, macs=23_800_000 // now),
            "threshold": 0.25,
            "layers": (
                LayerRow("features.1", 8, 3, 4, "at most 50 % of a layer"),
                LayerRow("features.4", 9, 9, 9),
            ),
        }
    return pass_result(index, **values | more)


def curve(epochs: int) -> tuple[dict[str, float], ...]:
    return tuple(
        {"step": e, "ts": e, "train/error": 50 / e, "sparsity/near_zero_share": e / 10, "val/error": 60 / e}
        for e in range(1, epochs + 1)
    )


RUN = RunResults(
    (row(0), row(1), row(2, reason="done: 2 of 2 passes")),
    {"architecture": "vgg-digits", "dataset": "Digits"},
)
SWEEP = RunResults(tuple(row(1, label=f"percent 0.{tenths}", test=float(tenths)) for tenths in (3, 5, 7)))
NO_BASELINE = RunResults(RUN.rows[1:])


def test_the_table_fits_eighty_columns() -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(report.table(RUN))
    printed = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert printed[:5] == [
        "                                            error  error error    ms        ms",
        "pass     channels  params      FLOPs      trained pruned tuned   b=1      b=32",
        "baseline      400 288,170      4.76M         0.50         0.50  0.24       4.2",
        "1             200  28,817 10x   476k 10x     0.62   0.75  0.75  0.12 3.0x  2.1",
        "2             133   2,881 100x 47.6k 100x    0.75   0.75  1.00 0.080 4.5x  1.4",
    ]
    assert printed[-1] == "Done: 2 of 2 passes."


def printed(results: RunResults, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(report.table(results, width=width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_in_a_narrow_terminal_the_table_becomes_lines() -> None:
    """With 40 columns it had no error at all."""
    lines = printed(RUN, 40)
    start = lines.index("1")
    assert lines[start : start + 9] == [
        "1",
        "  channels      200",
        "  params        28,817 10x",
        "  FLOPs         476k 10x",
        "  error trained 0.62",
        "  error pruned  0.75",
        "  error tuned   0.75",
        "  ms b=1        0.12 3.0x",
        "  ms b=32       2.1 2.0x",
    ]
    assert lines[0] == "baseline"
    assert lines[-1] == "Done: 2 of 2 passes."
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("results", [RUN, SWEEP, NO_BASELINE], ids=["run", "sweep", "no baseline"])
@pytest.mark.parametrize("width", [10, 24, 40, 50, 55, 60, 66, 70, 80, 120, 200])
def test_every_width_shows_every_error(results: RunResults, width: int) -> None:
    text = "\n".join(printed(results, width))
    errors = [f"{row.errors.test:.2f}" for row in results.rows]
    assert all(error in text for error in errors)
    for heading in ("trained", "tuned"):
        assert heading in text.replace("-\n", "")


def test_no_results_are_no_table_at_any_width() -> None:
    for width in (10, 80):
        printed(RunResults(), width)


def test_the_table_of_a_sweep_and_of_a_run_without_a_baseline() -> None:
    lines = report.markdown(SWEEP).splitlines()
    assert lines[0] == (
        "| pass | channels | params | params fewer | FLOPs | FLOPs fewer | error trained | error pruned "
        "| error tuned | ms b=1 | ms b=1 fewer | ms b=32 | ms b=32 fewer | ONNX bytes |"
    )
    assert lines[3] == (
        "| percent 0.5 | 200 | 28,817 | 10x | 476k | 10x | 0.62 | 0.75 | 5.00 "
        "| 0.12 | 3.0x | 2.1 | 2.0x | 116k |"
    )
    # Compared with the network that pass 1 pruned: 2,881,700 parameters and 2 x 23,800,000 / 10 FLOPs.
    assert "| 2 | 133 | 2,881 | 100x | 47.6k | 100x |" in report.markdown(NO_BASELINE)
    assert report.markdown(RunResults()).startswith("|  |")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *(
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1000, "1.00k"),
            (8698, "8.70k"),
            (9994, "9.99k"),
            (9996, "10.0k"),
        ),
        *((51_500, "51.5k"), (99_960, "100k"), (999_400, "999k"), (999_600, "1.00M"), (20_035_018, "20.0M")),
        *((797_000_000, "797M"), (4.57e10, "45.7G"), (4.57e12, "4570G")),
    ],
)
def test_three_digits_and_a_unit(value: float, told: str) -> None:
    assert scaled(value) == told


@pytest.mark.parametrize(
    ("value", "two", "three"),
    [
        *((0.0352, "0.035", "0.0352"), (0.2, "0.20", "0.200"), (9.94, "9.9", "9.94"), (26.4, "26", "26.4")),
        *((99.6, "100", "99.6"), (748.4, "748", "748"), (999.6, "1000", "1000"), (12_345, "12345", "12345")),
    ],
)
def test_significant_digits_without_an_exponent(value: float, two: str, three: str) -> None:
    assert (significant(value), significant(value, 3)) == (two, three)


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


class Page(HTMLParser):
    """The parts of a page: its text, its ids, and the addresses that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.ids, self.loads, self.tags = "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action") and not (value or "").startswith("#"):
                self.loads.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "results", [RUN, SWEEP, NO_BASELINE, RunResults(RUN.rows[:1]), RunResults()], ids=str
)
def test_the_page_loads_nothing(results: RunResults) -> None:
    text = report.html(results)
    page = Page(text)
    assert page.loads == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\((?!#)|@import|@font-face", text)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert used <= set(page.ids)
    drawings = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert len(drawings) == page.tags.count("figure")
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "#fe00" not in drawing  # every placeholder has become a colour of the page
        assert set(re.findall(r"var\(--(\w+)\)", drawing)) <= set(COLOURS)


def test_the_page_has_the_numbers_of_the_last_pass() -> None:
    text = " ".join(Page(report.html(RUN)).text.split())
    for words in (
        "vgg-digits on Digits Done: 2 of 2 passes.",
        "100x fewer parameters 2,881 of 288,170",
        "100x fewer FLOPs 47.6k of 4.76M",
        "1.00 % test error +0.50 points against the baseline",
        "3.0x faster 1.4 ms for 32 images, one thread",
        "pass 1: 400 to 200 channels",
        "features.1 8 3 4 at most 50 % of a layer",
        "architecture vgg-digits dataset Digits",
    ):
        assert words in text
    assert "No pass was finished" in Page(report.html(RunResults())).text


def test_the_page_has_each_dark_colour() -> None:
    text = report.html(RUN)
    dark = text[text.index("prefers-color-scheme: dark") : text.index("* { box-sizing")]
    assert set(COLOURS) <= set(re.findall(r"--(\w+):", dark))


def test_names_are_text_and_not_markup() -> None:
    named = "<script>alert('x')</script>"
    results = RunResults(
        (row(0), dataclasses.replace(row(1), reason=named, label=named)), {"architecture": named}
    )
    assert "script" not in Page(report.html(results)).tags
    assert named in Page(report.html(results)).text


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


def test_plots_are_images_of_this_ledger() -> None:
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


def test_a_hundred_layers_are_drawn_without_their_names() -> None:
    layers = tuple(LayerRow(f"block.{i}.bn", 64, 32, 32) for i in range(100))
    text = report.html(RunResults((row(0), row(1, layers=layers))))
    drawing = re.search(r'<svg [^>]*aria-label="Channels per layer".*?</svg>', text, re.DOTALL)
    assert drawing
    assert "layer, input to output" in drawing[0]
    assert "block.7.bn" not in drawing[0]
    assert "block.7.bn" in text  # but in the table
