"""Figure 3: what is left of parameters and FLOPs of each slimmed network, as bars."""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.bench import Bench
from benchmarks.paper.families import Study
from benchmarks.paper.plots import COLOURS, drawn
from benchmarks.paper.result import Result, Row, Table
from benchmarks.paper.table1 import PAPER, PERCENTS
from benchmarks.paper.workshop import NotMadeError

__all__ = ["figure3"]

COLUMNS = {"parameters left, %": ".1f", "FLOPs left, %": ".1f"}


def figure3(bench: Bench) -> Result:
    """The paper shows its best pruned network of each family; ours are the same percentages."""
    seeds = bench.seeds(1)
    rows, says = [], []
    title = bench.data("cifar10").title
    for family, percents in PERCENTS["cifar10"].items():
        studies = [Study.of(bench, family, "cifar10", seed) for seed in seeds]
        study = studies[0]
        for percent, told in zip(percents, PAPER["cifar10"][family][1:], strict=True):
            try:
                pairs = [(one.base().facts, one.tuned(percent).facts) for one in studies]
            except NotMadeError:
                continue
            if study.words() not in says:
                says.append(study.words())
            facts = zip(COLUMNS, ("params", "macs"), strict=True)
            ours = {column: [100 * slim[fact] / wide[fact] for wide, slim in pairs] for column, fact in facts}
            paper = dict(zip(COLUMNS, (100 - told[2], 100 - told[4]), strict=True))
            rows.append(Row(f"{study.title}, {percent:.0%} pruned", ours, paper))
    with drawn(bench.plot("figure3.png"), f"{title}; {bench.scale}") as figure:
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
    return Result("Figure 3: resources", title, says, [table], ["figure3.png"])
