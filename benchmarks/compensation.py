"""The error right after pruning, before any fine-tuning: what folding and recalibration are worth.

    python benchmarks/compensation.py --data <folder> --output benchmarks/results/compensation

<folder> holds mnist/ (the four idx files) and cifar10_jpeg/ (an image folder; any other will do).

Every network is trained with sparsity, by the subgradient and by the proximal step, and pruned at one global
threshold in four ways:

    none         the removed channels' constants act(beta) are lost
    fold         they are folded into what reads them (netslim's default)
    recalibrate  they are lost, then the running statistics are estimated anew on 2,000 training images
    both         folded, then estimated anew
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from provenance import facts, markdown
from torch import nn
from trained import CIFAR, Case, prepare, sparse_network, training_images

import netslim
from netslim import sparsity
from netslim.data import PackedDataset
from netslim.evaluation import evaluate
from netslim.files import write_json

PERCENTS: tuple[float | str, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, "dead")


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
    """The test error in percent of the four ways, and how many channels stay."""
    test, example = dataset.split("test"), next(iter(training_images(dataset)))[:1]
    row: dict[str, Any] = {"percent": percent}
    for fold, names in ((False, ("none", "recalibrate")), (True, ("fold", "both"))):
        result = netslim.prune(model, example, percent=percent, compensate=fold)
        row["channels"] = result.after.channels
        for name in names:
            row[name] = evaluate(result.model, test, dataset.info)
            netslim.recalibrate(result.model, training_images(dataset))
    return row


def measure(case: Case, penalty: str, root: Path, work: Path, part: float) -> dict[str, Any]:
    dataset = prepare(case, root, work, part)
    model = sparse_network(case, penalty, dataset, work)
    told = sparsity.statistics(model)
    return {
        "case": case.title,
        "penalty": penalty,
        "channels": told.total,
        "zero_share": told.zero_share,
        "near_zero_share": told.near_zero_share,
        "error": evaluate(model, dataset.split("test"), dataset.info),
        "rows": [after_pruning(model, dataset, percent) for percent in PERCENTS],
    }


def table(results: list[dict[str, Any]]) -> str:
    ways = ("none", "fold", "recalibrate", "both")
    rows = []
    for result in results:
        name = f"{result['case']}, {result['penalty']}"
        shares = f"{result['near_zero_share']:.0%} below 1e-3, {result['zero_share']:.0%} exactly 0"
        rows.append((f"**{name}**: {shares}", str(result["channels"]), f"{result['error']:.2f}", "", "", ""))
        for row in result["rows"]:
            percent = row["percent"] if isinstance(row["percent"], str) else f"{row['percent']:.0%}"
            rows.append((percent, str(row["channels"]), *(f"{row[way]:.2f}" for way in ways)))
    return markdown(("pruned", "channels", *ways), rows)


@click.command()
@click.argument("networks", nargs=-1, type=click.Choice([case.model for case in CASES]))
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--part", default=1.0, show_default=True, help="Take this share of CIFAR-10's images.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep datasets and trained networks here.")
@click.option("--output", type=click.Path(path_type=Path), help="Write <output>.json and <output>.md.")
def main(networks: tuple[str, ...], root: Path, part: float, work: Path | None, output: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        place = work or Path(scratch)
        cases = [case for case in CASES if not networks or case.model in networks]
        pairs = [(case, penalty) for case in cases for penalty in ("l1", "proximal")]
        results = [measure(case, penalty, root, place, part) for case, penalty in pairs]
    told = table(results)
    click.echo(told)
    if output:
        write_json(output.with_suffix(".json"), {"machine": facts(), "results": results})
        output.with_suffix(".md").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
