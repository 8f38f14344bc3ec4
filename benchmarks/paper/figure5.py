"""Figure 5: error against the pruned percentage, DenseNet, right after pruning and after fine-tuning."""

from __future__ import annotations

from statistics import fmean

from benchmarks.paper.context import Context
from benchmarks.paper.families import Study
from benchmarks.paper.plots import COLOURS, figure_file
from benchmarks.paper.result import Result, Row, Table, spread

__all__ = ["figure5"]

PERCENTS = {
    "full": tuple(tenth / 10 for tenth in range(1, 10)),
    "reduced": (0.2, 0.4, 0.6, 0.7, 0.8, 0.9),
    "tiny": (0.4, 0.7),
}
COLUMNS = {"pruned, error %": ".2f", "fine-tuned, error %": ".2f", "FLOPs left, %": ".1f"}


def figure5(context: Context) -> Result:
    studies = [Study.of(context, "densenet", "cifar10", seed) for seed in context.seeds(1)]
    study, bases = studies[0], [one.base() for one in studies]
    errors = {"base": [net.error for net in bases], "sparse": [one.sparse().error for one in studies]}
    percents = PERCENTS[context.scale]
    rows = []
    for percent in percents:
        pruned, tuned = [one.pruned(percent) for one in studies], [one.tuned(percent) for one in studies]
        left = [100 * net.facts["macs"] / base.facts["macs"] for net, base in zip(tuned, bases, strict=True)]
        values = zip(
            COLUMNS, ([net.error for net in pruned], [net.error for net in tuned], left), strict=True
        )
        rows.append(Row(f"{percent:.0%}", dict(values)))
    with figure_file(context.plot("figure5.png"), f"{study.title} on {study.data.title}") as figure:
        axes = figure.subplots()
        places = [100 * percent for percent in percents]
        series = zip(COLUMNS, ("two", "one"), ("pruned", "fine-tuned"), strict=False)
        for column, colour, label in series:
            means = [fmean(row.ours[column]) for row in rows]
            axes.plot(places, means, marker="o", color=COLOURS[colour], label=label)
        axes.axhline(fmean(errors["base"]), color=COLOURS["muted"], linestyle="--", label="baseline")
        axes.axhline(
            fmean(errors["sparse"]), color=COLOURS["three"], linestyle=":", label="trained with sparsity"
        )
        axes.set(xlabel="channels pruned, %", ylabel="test error, %")
        axes.legend()
    notes = [
        study.words(),
        f"Baseline {spread(errors['base'], '.2f')} %, trained with sparsity "
        f"{spread(errors['sparse'], '.2f')} %. The picture shows means. In the paper the "
        "fine-tuned network is worse than the baseline above 80 %, and the network trained with sparsity is "
        "better than the baseline.",
    ]
    table = Table(f"{study.title}: error by percentage", COLUMNS, rows)
    return Result("Figure 5: how much to prune", study.data.title, notes, [table], ["figure5.png"])
