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

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch
from provenance import facts, markdown
from torch import Tensor, nn

import netslim
from netslim import data, models, presets, sparsity
from netslim.batches import ordered
from netslim.data import PackedDataset
from netslim.evaluation import evaluate
from netslim.files import write_json
from netslim.train import train

PERCENTS: tuple[float | str, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, "dead")


@dataclass(frozen=True)
class Case:
    """A network, a dataset and a recipe for sparse training."""

    title: str
    dataset: str
    model: str
    preset: str
    recipe: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case("VGG on digits", "digits", "vgg-digits", "digits"),
    Case("MLP on MNIST", "mnist", "mlp", "mnist", {"epochs": 10, "pull": 3.0}),
    Case(
        "VGG-11/4 on CIFAR-10 (JPEG copy)",
        "cifar10_jpeg",
        "vgg11-small",
        "cifar",
        {"epochs": 8, "batch_size": 128, "pull": 4.0},
    ),
)


def prepare(case: Case, root: Path, work: Path) -> PackedDataset:
    """The packed dataset of a case, made on first use."""
    packed = work / case.dataset
    if not packed.exists():
        if case.dataset == "digits":
            data.prepare("digits", packed)
        elif case.dataset == "mnist":
            raw = work / "originals" / "MNIST" / "raw"  # where torchvision looks for the four files
            shutil.copytree(root / "mnist", raw, dirs_exist_ok=True)
            data.prepare("mnist", packed, root=work / "originals")
        else:
            data.prepare("folder", packed, root=root / case.dataset, title="CIFAR-10 (JPEG copy)")
    return data.open_dataset(packed)


def sparse_network(case: Case, penalty: str, dataset: PackedDataset, work: Path) -> nn.Module:
    """A network trained with sparsity; a finished training in `work` is taken up again."""
    info = dataset.info
    architecture = models.resolve(
        case.model, num_classes=len(info.classes), in_channels=info.channels, image_size=info.image_size
    )
    torch.manual_seed(0)
    model = architecture.build()
    recipe = presets.stage(case.preset, "sparse", case.recipe | {"penalty": penalty, "threads": 1})
    train(model, dataset, recipe, seed=0, checkpoint_dir=work / f"{case.dataset}-{penalty}", title=case.title)
    return model.eval()


def training_images(dataset: PackedDataset) -> Iterator[Tensor]:
    batches = ordered(dataset.split("train"), dataset.info, batch_size=250)
    return (images for images, _ in islice(batches, 8))


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


def measure(case: Case, penalty: str, root: Path, work: Path) -> dict[str, Any]:
    dataset = prepare(case, root, work)
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
@click.option("--data", "root", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), help="Keep datasets and trained networks here.")
@click.option("--output", type=click.Path(path_type=Path), help="Write <output>.json and <output>.md.")
def main(root: Path, work: Path | None, output: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        place = work or Path(scratch)
        results = [measure(case, penalty, root, place) for case in CASES for penalty in ("l1", "proximal")]
    told = table(results)
    click.echo(told)
    if output:
        write_json(output.with_suffix(".json"), {"machine": facts(), "results": results})
        output.with_suffix(".md").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
