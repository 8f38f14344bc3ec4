"""Figure 3: the share of parameters and FLOPs that is left in each slim network, as bars."""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.context import Context
from benchmarks.paper.families import Study
from benchmarks.paper.networks import MissingNetworkError
from benchmarks.paper.plots import COLOURS, figure_file
from benchmarks.paper.result import Result, Row, Table
from benchmarks.paper.table1 import PAPER, PERCENTS

__all__ = ["figure3"]

COLUMNS = {"parameters left, %": ".1f", "FLOPs left, %": ".1f"}


def figure3(context: Context) -> Result:
    """The percentages of Table 1; the paper shows only its best slim network of each family."""
    seeds = context.seeds(1)
    rows, notes = [], []
    title = context.data("cifar10").title
    for family, percents in PERCENTS["cifar10"].items():
        studies = [Study.of(context, family, "cifar10", seed) for seed in seeds]
        study = studies[0]
        for percent, published in zip(percents, PAPER["cifar10"][family][1:], strict=True):
            try:
                pairs = [(one.base().facts, one.tuned(percent).facts) for one in studies]
            except MissingNetworkError:
                continue
            if study.words() not in notes:
                notes.append(study.words())
            facts = zip(COLUMNS, ("params", "macs"), strict=True)
            ours = {column: [100 * slim[fact] / wide[fact] for wide, slim in pairs] for column, fact in facts}
            paper = dict(zip(COLUMNS, (100 - published[2], 100 - published[4]), strict=True))
            rows.append(Row(f"{study.title}, {percent:.0%} pruned", ours, paper))
    with figure_file(context.plot("figure3.png"), f"{title}; {context.scale}") as figure:
        axes = figure.subplots()
        for index, (column, colour) in enumerate(zip(COLUMNS, ("one", "three"), strict=True)):
            places = [row + (index - 0.5) * 0.36 for row in range(len(rows))]
            heights = [fmean(row.ours[column]) for row in rows]
            axes.bar(places, heights, 0.34, color=COLOURS[colour], label=column.removesuffix(", %"))
            axes.scatter(places, [row.paper[column] for row in rows], marker="_", color=COLOURS["ink"], s=90)
        names = [row.name.replace(", ", "\n") for row in rows]
        axes.set_xticks(range(len(rows)), names, fontsize=7)
        axes.axhline(100, color=COLOURS["muted"], linewidth=0.8)
        axes.set(ylabel="% of the baseline (dash: the paper's)")
        axes.set_xlim(-1, max(len(rows), 2) - 0.2)
        axes.legend(loc="upper left", bbox_to_anchor=(0, 0.95))
    table = Table("Left of the baseline", COLUMNS, rows)
    return Result("Figure 3: resources", title, notes, [table], ["figure3.png"])
