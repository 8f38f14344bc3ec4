"""Table 1: slim VGG, DenseNet and ResNet beside their baselines, with two controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.paper.context import Context
from benchmarks.paper.controls import filter_pruned, from_scratch
from benchmarks.paper.families import Study
from benchmarks.paper.networks import MissingNetworkError, Net
from benchmarks.paper.result import Result, Row, Table
from netslim.errors import NetslimError

__all__ = ["PERCENTS", "table1"]

COLUMNS = {
    "test error, %": ".2f",
    "parameters, M": ".4g",
    "params pruned, %": ".1f",
    "FLOPs, 1e8": ".4g",
    "FLOPs pruned, %": ".1f",
}
PERCENTS = {
    "cifar10": {"vgg": (0.7,), "densenet": (0.4, 0.7), "resnet": (0.4, 0.6)},
    "cifar100": {"vgg": (0.5,), "densenet": (0.4, 0.6), "resnet": (0.4, 0.6)},
    "svhn": {"vgg": (0.6,), "densenet": (0.4, 0.6), "resnet": (0.4, 0.6)},
}
# Error, parameters in millions, pruned, FLOPs in 1e8 (2 x MACs), pruned; baseline first.
PAPER: Mapping[str, Mapping[str, Sequence[tuple[float | None, ...]]]] = {
    "cifar10": {
        "vgg": [(6.34, 20.04, None, 7.97, None), (6.20, 2.30, 88.5, 3.91, 51.0)],
        "densenet": [
            (6.11, 1.02, None, 5.33, None),
            (5.19, 0.66, 35.7, 3.81, 28.4),
            (5.65, 0.35, 65.2, 2.40, 55.0),
        ],
        "resnet": [
            (5.42, 1.70, None, 4.99, None),
            (5.08, 1.44, 14.9, 3.81, 23.7),
            (5.27, 1.10, 35.2, 2.75, 44.9),
        ],
    },
    "cifar100": {
        "vgg": [(26.74, 20.08, None, 7.97, None), (26.52, 5.00, 75.1, 5.01, 37.1)],
        "densenet": [
            (25.36, 1.06, None, 5.33, None),
            (25.28, 0.66, 37.5, 3.71, 30.3),
            (25.72, 0.46, 54.6, 2.81, 47.1),
        ],
        "resnet": [
            (23.37, 1.73, None, 5.00, None),
            (22.87, 1.46, 15.5, 3.33, 33.3),
            (23.91, 1.21, 29.7, 2.47, 50.6),
        ],
    },
    "svhn": {
        "vgg": [(2.17, 20.04, None, 7.97, None), (2.06, 3.04, 84.8, 3.98, 50.1)],
        "densenet": [
            (1.89, 1.02, None, 5.33, None),
            (1.79, 0.65, 36.3, 3.69, 30.8),
            (1.81, 0.44, 56.6, 2.67, 49.8),
        ],
        "resnet": [
            (1.78, 1.70, None, 4.99, None),
            (1.85, 1.46, 14.5, 3.44, 31.1),
            (1.81, 1.12, 34.3, 2.25, 54.9),
        ],
    },
}
CONTROLS = (
    "The controls have the structure or the size of the last row. 'from scratch' trains that structure from "
    "new weights with the FLOPs of the baseline's training, for at most twice its epochs (Scratch-B, Liu et "
    "al. 2019). 'L1-norm pruning' prunes each layer of the baseline by the L1 norms of its filters (Li et "
    "al. 2017) until at most as many parameters are left, and fine-tunes in the same way; it is run for VGG "
    "only, which is a plain chain of layers.",
)


def table1(context: Context) -> Result:
    seeds = context.seeds(3 if context.scale == "full" else 1)
    tables, notes, titles = [], [*CONTROLS], []
    for dataset in PERCENTS if context.scale == "full" else ["cifar10"]:
        try:
            context.data(dataset)
        except NetslimError as error:
            if dataset == "cifar10":
                raise
            notes.append(f"Not run on {dataset}: {error}")
            continue
        for family in PERCENTS[dataset]:
            studies = [Study.of(context, family, dataset, seed) for seed in seeds]
            try:
                rows = _rows(studies, PERCENTS[dataset][family], PAPER[dataset][family])
            except MissingNetworkError as error:
                notes.append(f"Not run, {studies[0].title}: {error}")
                continue
            tables.append(Table(f"{studies[0].data.title}: {studies[0].title}", COLUMNS, rows))
            if studies[0].words() not in notes:
                notes.append(studies[0].words())
        titles.append(context.data(dataset).title)
    return Result("Table 1: slimmed networks beside their baselines", "; ".join(titles), notes, tables)


def _rows(
    studies: Sequence[Study], percents: Sequence[float], paper: Sequence[tuple[float | None, ...]]
) -> list[Row]:
    bases = [study.base() for study in studies]
    rows = [_row("baseline", bases, bases[0], paper[0])]
    rows.append(_row("trained with sparsity", [study.sparse() for study in studies], bases[0]))
    for percent, published in zip(percents, paper[1:], strict=True):
        pruned = [study.pruned(percent) for study in studies]
        rows.append(_row(f"{percent:.0%} pruned, not fine-tuned", pruned, bases[0]))
        rows.append(
            _row(f"{percent:.0%} pruned", [study.tuned(percent) for study in studies], bases[0], published)
        )
    scratch = [
        from_scratch(s.context.networks, s.data, s.base(), s.pruned(percents[-1]), s.recipe("base"), s.seed)
        for s in studies
    ]
    rows.append(_row("control: from scratch", scratch, bases[0]))
    if studies[0].family.model == "vgg19":
        rows.append(_row("control: L1-norm pruning", [_by_norm(s, percents[-1]) for s in studies], bases[0]))
    return rows


def _by_norm(study: Study, percent: float) -> Net:
    params, recipe = study.pruned(percent).facts["params"], study.recipe("fine_tune")
    return filter_pruned(study.context.networks, study.data, study.base(), recipe, study.seed, params=params)


def _row(name: str, nets: Sequence[Net], wide: Net, paper: Sequence[float | None] = ()) -> Row:
    params, macs = wide.facts["params"], wide.facts["macs"]
    ours = {
        "test error, %": [net.error for net in nets],
        "parameters, M": [net.facts["params"] / 1e6 for net in nets],
        "params pruned, %": [100 * (1 - net.facts["params"] / params) for net in nets],
        "FLOPs, 1e8": [2 * net.facts["macs"] / 1e8 for net in nets],
        "FLOPs pruned, %": [100 * (1 - net.facts["macs"] / macs) for net in nets],
    }
    return Row(name, ours, dict(zip(COLUMNS, paper, strict=False)))
