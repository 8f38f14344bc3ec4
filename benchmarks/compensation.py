"""The error right after pruning, before fine-tuning: the effect of bias compensation and of recalibration.

    python -m benchmarks.compensation --data <folder> --part 0.2

<folder> holds mnist/ (the four idx files) and cifar10_jpeg/ (an image folder; another one can be used).

Every network is trained with sparsity, by the subgradient and by the proximal step, and is pruned at one
global threshold. The result is measured four times:

    none         the constants act(beta) of the removed channels are lost
    fold         they are folded into the layers that read them (the default of `netslim.prune`)
    recalibrate  they are lost, then the running statistics are estimated again on 2,000 training images
    both         they are folded, then the running statistics are estimated again
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import nn

import netslim
from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from benchmarks.trained import CIFAR, Case, prepare, sparse_network, training_images
from netslim import sparsity
from netslim.data import PackedDataset
from netslim.training.evaluate import evaluate

PERCENTS: tuple[float | str, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, "dead")
BINS = {
    "0": 0.0,
    "to 1e-5": 1e-5,
    "to 1e-4": 1e-4,
    "to 1e-3": 1e-3,
    "to 0.01": 1e-2,
    "to 0.03": 3e-2,
    "to 0.1": 0.1,
}
"""Upper ends, inclusive, of the bins of |gamma|; a last bin has the larger ones."""

CASES = (
    Case("VGG on digits", "digits", "vgg-digits", "digits"),
    Case("MLP on MNIST", "mnist", "mlp", "mnist", {"epochs": 10, "pull": 3.0}),
    Case(
        "VGG-11/4 on CIFAR-10 (JPEG copy)",
        CIFAR,
        "vgg11-small",
        "cifar",
        {"epochs": 8, "batch_size": 64, "pull": 2.0},
    ),
)


def after_pruning(model: nn.Module, dataset: PackedDataset, percent: float | str) -> dict[str, Any]:
    """The test error in percent of each variant, and how many channels are left."""
    test, example = dataset.split("test"), next(iter(training_images(dataset)))[:1]
    row: dict[str, Any] = {"percent": percent}
    for fold, names in ((False, ("none", "recalibrate")), (True, ("fold", "both"))):
        result = netslim.prune(model, example, percent=percent, compensate=fold)
        row["channels"] = result.after.channels
        for name in names:
            row[name] = evaluate(result.model, test, dataset.info)
            netslim.recalibrate(result.model, training_images(dataset))
    return row


def histogram(model: nn.Module) -> list[int]:
    """Number of scaling factors in each bin of |gamma|."""
    sizes = [factor.detach().abs().flatten().numpy() for _, factor in sparsity.scaling_factors(model)]
    bins = np.searchsorted(list(BINS.values()), np.concatenate(sizes))
    return np.bincount(bins, minlength=len(BINS) + 1).tolist()


def measure(case: Case, penalty: str, root: Path, work: Path, part: float) -> dict[str, Any]:
    dataset = prepare(case, root, work, part)
    model = sparse_network(case, penalty, dataset, work)
    statistics = sparsity.statistics(model)
    return {
        "case": case.title,
        "penalty": penalty,
        "channels": statistics.total,
        "zero_share": statistics.zero_share,
        "near_zero_share": statistics.near_zero_share,
        "histogram": histogram(model),
        "error": evaluate(model, dataset.split("test"), dataset.info),
        "rows": [after_pruning(model, dataset, percent) for percent in PERCENTS],
    }


def errors_table(results: list[dict[str, Any]]) -> str:
    variants = ("none", "fold", "recalibrate", "both")
    rows = []
    for result in results:
        name = f"{result['case']}, {result['penalty']}"
        shares = f"{result['near_zero_share']:.0%} below 1e-3, {result['zero_share']:.0%} exactly 0"
        rows.append((f"**{name}**: {shares}", str(result["channels"]), f"{result['error']:.2f}", "", "", ""))
        for row in result["rows"]:
            percent = row["percent"] if isinstance(row["percent"], str) else f"{row['percent']:.0%}"
            rows.append((percent, str(row["channels"]), *(f"{row[name]:.2f}" for name in variants)))
    return markdown(("pruned", "channels", *variants), rows)


def factors_table(results: list[dict[str, Any]]) -> str:
    rows = [
        (f"{each['case']}, {each['penalty']}", *map(str, each["histogram"]))
        for each in results
        if "histogram" in each  # the first results were stored without it
    ]
    return markdown(("scaling factors of", *BINS, "larger"), rows)


def page(result: Mapping[str, Any]) -> str:
    results = result["results"]
    return "\n\n".join([errors_table(results), factors_table(results), bullets(result["facts"])])


@click.command()
@click.argument("networks", nargs=-1, type=click.Choice([case.model for case in CASES]))
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--part", default=1.0, show_default=True, help="Take this share of CIFAR-10's images.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep datasets and trained networks here.")
@output_option
def main(networks: tuple[str, ...], root: Path, part: float, work: Path | None, output: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = work or Path(scratch)
        cases = [case for case in CASES if not networks or case.model in networks]
        pairs = [(case, penalty) for case in cases for penalty in ("l1", "proximal")]
        results = [measure(case, penalty, root, folder, part) for case, penalty in pairs]
    result = {"facts": facts(), "results": results}
    click.echo(page(result))
    save(result, "compensation", output)


if __name__ == "__main__":
    main()
