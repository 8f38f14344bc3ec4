"""Table 4: slimming in several passes, VGG: half of all channels each time, at most half of any layer."""

from __future__ import annotations

from benchmarks.paper.context import Context
from benchmarks.paper.families import Study
from benchmarks.paper.networks import Net
from benchmarks.paper.result import Result, Row, Table
from netslim.errors import NetslimError
from netslim.models import Architecture

__all__ = ["table4"]

COLUMNS = {
    "trained, error %": ".2f",
    "fine-tuned, error %": ".2f",
    "params pruned, %": ".1f",
    "FLOPs pruned, %": ".1f",
}
PAPER = {
    "cifar10": [
        (6.34, None, None, None),
        (6.38, 6.51, 66.7, 38.6),
        (6.23, 6.11, 84.7, 52.7),
        (5.87, 6.10, 91.4, 63.1),
        (6.19, 6.59, 95.6, 77.2),
        (5.96, 7.73, 98.3, 88.7),
        (7.79, 9.70, 99.4, 95.7),
    ],
    "cifar100": [
        (26.74, None, None, None),
        (27.72, 26.52, 59.1, 30.9),
        (26.03, 26.52, 79.2, 46.1),
        (26.49, 29.08, 89.8, 67.3),
        (28.17, 30.59, 95.3, 83.0),
        (30.04, 36.35, 98.3, 93.5),
        (35.91, 46.73, 99.4, 97.7),
    ],
}
LIMITS = {"percent": 0.5, "max_layer_percent": 0.5}


def table4(context: Context) -> Result:
    seeds = context.seeds(3 if context.scale == "full" else 1)
    tables, notes, titles = [], [], []
    for dataset, paper in PAPER.items() if context.scale == "full" else [("cifar10", PAPER["cifar10"])]:
        try:
            studies = [Study.of(context, "vgg", dataset, seed) for seed in seeds]
        except NetslimError as error:
            if dataset == "cifar10":
                raise
            notes.append(f"Not run on {dataset}: {error}")
            continue
        notes.insert(0, studies[0].words())
        titles.append(studies[0].data.title)
        runs = [_passes(study, len(paper) - 1) for study in studies]
        bases = [study.base() for study in studies]
        rows = [_row("baseline", [(base, None) for base in bases], bases, paper[0])]
        for index, published in enumerate(paper[1:]):
            rows.append(_row(f"pass {index + 1}", [run[index] for run in runs], bases, published))
        tables.append(Table(f"{studies[0].data.title}: {studies[0].title}", COLUMNS, rows))
    return Result("Table 4: slimming in several passes", "; ".join(titles), notes, tables)


def _passes(study: Study, count: int) -> list[tuple[Net, Net | None]]:
    """The sparse network and the fine-tuned network of each pass; the next pass starts from the latter."""
    start: Net | Architecture = study.wide()
    nets: list[tuple[Net, Net | None]] = []
    for index in range(1, count + 1):
        sparse = study.sparse() if index == 1 else study.train(f"pass {index}: sparse", "sparse", start)
        label = f"pass {index}: pruned"
        pruned = study.context.networks.prune(f"{study.name}: {label}", sparse, study.data, **LIMITS)
        start = study.train(f"pass {index}: fine-tuned", "fine_tune", pruned)
        nets.append((sparse, start))
    return nets


def _row(
    name: str, nets: list[tuple[Net, Net | None]], bases: list[Net], paper: tuple[float | None, ...]
) -> Row:
    slim = [tuned for _, tuned in nets if tuned]
    ours = {
        "trained, error %": [sparse.error for sparse, _ in nets],
        "fine-tuned, error %": [net.error for net in slim],
    }
    for column, fact in (("params pruned, %", "params"), ("FLOPs pruned, %", "macs")):
        ours[column] = [
            100 * (1 - net.facts[fact] / base.facts[fact]) for net, base in zip(slim, bases, strict=False)
        ]
    return Row(name, ours, dict(zip(COLUMNS, paper, strict=True)))
