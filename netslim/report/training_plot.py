"""The training curves of all passes, one after the other, in one plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from netslim.report.style import Colours
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults

__all__ = ["draw_training"]

STAGES = {"base": "baseline", "sparse": "sparse", "fine_tune": "fine-tune"}


@dataclass(frozen=True)
class Stage:
    """One training of one pass. Its epochs are `start` + 1, `start` + 2, ... of the whole run."""

    result: PassResult
    name: str
    curve: tuple[Mapping[str, float], ...]
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.curve)

    @property
    def title(self) -> str:
        name = STAGES.get(self.name, self.name)
        return name if self.result.index == 0 else f"{self.result.title}\n{name}"


def draw_training(figure: Figure, results: RunResults, colours: Colours) -> None:
    """Above the errors, below the share of scaling factors near zero; fine-tuning is shaded."""
    errors, sparsity = figure.subplots(2, sharex=True, height_ratios=(3, 2))
    stages = list(_stages(results))
    _draw_curve(errors, stages, "train/error", colours["one"], "train")
    _draw_curve(errors, stages, "val/error", colours["two"], "validation")
    _draw_curve(sparsity, stages, "sparsity/near_zero_share", colours["three"], "near zero")
    for stage in stages:
        _mark_stage(errors, sparsity, stage, colours["muted"])
    errors.set(ylabel="error, %", yscale="symlog", ylim=(0, None), xlim=(0, stages[-1].end))
    errors.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if errors.get_legend_handles_labels()[0]:
        errors.legend(loc="upper right")
    sparsity.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    sparsity.set(xlabel="epochs of the whole run", ylabel="factors near zero", ylim=(0, 1))


def _stages(results: RunResults) -> Iterator[Stage]:
    start = 0
    for result in results.rows:
        for name, curve in result.curves.items():
            if curve:
                yield Stage(result, name, curve, start)
                start += len(curve)


def _draw_curve(axes: Axes, stages: list[Stage], key: str, colour: str, label: str) -> None:
    """One line for each stage that has the metric `key`; only the first one is in the legend."""
    for stage in stages:
        epochs = [stage.start + number for number, epoch in enumerate(stage.curve, 1) if key in epoch]
        values = [epoch[key] for epoch in stage.curve if key in epoch]
        if values:
            marker = "o" if len(values) == 1 else ""  # a line of one point cannot be seen
            axes.plot(epochs, values, marker=marker, markersize=3, color=colour, linewidth=1.4, label=label)
            label = ""


def _mark_stage(errors: Axes, sparsity: Axes, stage: Stage, colour: str) -> None:
    """Write the stage's title above its epochs, and shade them if it is fine-tuning."""
    if stage.name == "fine_tune":
        for axes in (errors, sparsity):
            axes.axvspan(stage.start, stage.end, color=colour, alpha=0.09, linewidth=0)
    middle = ((stage.start + stage.end) / 2, 1)
    errors.annotate(stage.title, middle, xycoords=("data", "axes fraction"), ha="center", fontsize=7)
