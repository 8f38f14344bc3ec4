"""Figure 5: error against the pruned percentage, DenseNet: right after pruning, and fine-tuned."""

from __future__ import annotations

from benchmarks.paper.bench import Bench
from benchmarks.paper.families import Study
from benchmarks.paper.plots import COLOURS, drawn
from benchmarks.paper.result import Result, Row, Table

__all__ = ["figure5"]

PERCENTS = {
    "full": tuple(tenth / 10 for tenth in range(1, 10)),
    "reduced": (0.2, 0.4, 0.6, 0.7, 0.8, 0.9),
    "tiny": (0.4, 0.7),
}
COLUMNS = {"pruned, error %": ".2f", "fine-tuned, error %": ".2f", "FLOPs left, %": ".1f"}


def figure5(bench: Bench) -> Result:
    study = Study.of(bench, "densenet", "cifar10", bench.seeds(1)[0])
    base, sparse = study.base(), study.sparse()
    percents = PERCENTS[bench.scale]
    rows = []
    for percent in percents:
        cut, tuned = study.cut(percent), study.tuned(percent)
        left = 100 * tuned.facts["macs"] / base.facts["macs"]
        values = zip(COLUMNS, ([cut.error], [tuned.error], [left]), strict=True)
        rows.append(Row(f"{percent:.0%}", dict(values)))
    with drawn(bench.plot("figure5.png"), f"{study.title} on {study.data.title}") as figure:
        axes = figure.subplots()
        places = [100 * percent for percent in percents]
        series = zip(COLUMNS, ("two", "one"), ("pruned", "fine-tuned"), strict=False)
        for column, colour, label in series:
            errors = [row.ours[column][0] for row in rows]
            axes.plot(places, errors, marker="o", color=COLOURS[colour], label=label)
        axes.axhline(base.error, color=COLOURS["muted"], linestyle="--", label="baseline")
        axes.axhline(sparse.error, color=COLOURS["three"], linestyle=":", label="trained with sparsity")
        axes.set(xlabel="channels pruned, %", ylabel="test error, %")
        axes.legend()
    says = [
        study.words(),
        f"Baseline {base.error:.2f} %, trained with sparsity {sparse.error:.2f} %. In the paper the "
        "fine-tuned network falls behind the baseline beyond 80 %, and the sparse one is better than the "
        "baseline.",
    ]
    table = Table(f"{study.title}: error by percentage", COLUMNS, rows)
    return Result("Figure 5: how much to prune", study.data.title, says, [table], ["figure5.png"])
