"""Coupled channels: one choice for all of them, or one for each BatchNorm? What either costs and gives.

    python benchmarks/policies.py --output benchmarks/results/policies

Three networks with streams, trained with sparsity on scikit-learn's digits (8 x 8 pixels), are pruned under
both policies. The error is that right after pruning, with constants folded and with statistics estimated anew
as well. Latency is onnxruntime's, of the exported file, for one image and one thread, in turns.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click
import torch
from provenance import facts, markdown
from torch import nn
from trained import Case, prepare, sparse_network, training_images

import netslim
from netslim.data import PackedDataset
from netslim.evaluation import evaluate
from netslim.export import export_onnx
from netslim.files import write_json
from netslim.measure import latency

CASES = (
    Case("pre-activation ResNet-20", "digits", "resnet164", "digits", arguments={"depth": 20}),
    Case("DenseNet-16, k = 12", "digits", "densenet40", "digits", arguments={"depth": 16}),
    Case("ResNet-18", "digits", "resnet18", "digits"),
)
PERCENTS = (0.3, 0.5, 0.7)
POLICIES = ("group", "select")
TURNS = 5


def prune(
    model: nn.Module, dataset: PackedDataset, percent: float, policy: str, path: Path
) -> dict[str, Any]:
    """Prune, measure the error, and leave the ONNX file at `path`."""
    test, info = dataset.split("test"), dataset.info
    example = next(iter(training_images(dataset)))[:1]
    result = netslim.prune(model, example, percent=percent, policy=policy)
    folded = evaluate(result.model, test, info)
    netslim.recalibrate(result.model, training_images(dataset))
    export_onnx(result.model, path, example_shape=tuple(example.shape[1:]), metadata={})
    return {
        "policy": policy,
        "percent": percent,
        "channels": result.after.channels,
        "params": result.after.params,
        "macs": result.after.macs,
        "error_folded": folded,
        "error": evaluate(result.model, test, info),
    }


def measure(case: Case, work: Path) -> dict[str, Any]:
    dataset = prepare(case, work, work)
    model = sparse_network(case, "proximal", dataset, work)
    info = dataset.info
    shape = (info.channels, *info.image_size)
    wide = work / f"{case.model}.onnx"
    export_onnx(model, wide, example_shape=shape, metadata={})
    files, rows = {("wide", 0.0): wide}, []
    for percent in PERCENTS:
        for policy in POLICIES:
            files[policy, percent] = work / f"{case.model}-{policy}-{percent}.onnx"
            rows.append(prune(model, dataset, percent, policy, files[policy, percent]))
    times: dict[tuple[str, float], list[float]] = {key: [] for key in files}
    for _ in range(TURNS):
        for key, path in files.items():
            times[key].append(latency(path, shape, batch_sizes=(1,))[1].median_ms)
    for row in rows:
        row["latency_ms"] = statistics.median(times[row["policy"], row["percent"]])
    cost = netslim.count(model, torch.zeros(1, *shape))
    error = evaluate(model, dataset.split("test"), info)
    before = {
        "policy": "wide",
        "percent": 0.0,
        "channels": cost.channels,
        "params": cost.params,
        "macs": cost.macs,
    }
    before |= {"error": error, "error_folded": error, "latency_ms": statistics.median(times["wide", 0.0])}
    return {"case": case.title, "rows": [before, *rows]}


def table(results: list[dict[str, Any]]) -> str:
    rows = []
    for result in results:
        for row in result["rows"]:
            rows.append(
                (
                    result["case"],
                    row["policy"] if row["policy"] == "wide" else f"{row['policy']}, {row['percent']:.0%}",
                    str(row["channels"]),
                    f"{row['params'] / 1e3:.0f}k",
                    f"{row['macs'] / 1e6:.2f}M",
                    f"{row['latency_ms']:.3f}",
                    f"{row['error_folded']:.2f}",
                    f"{row['error']:.2f}",
                )
            )
    header = ("network", "policy", "channels", "params", "MACs", "ms", "error folded", "and recalibrated")
    return markdown(header, rows)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), help="Keep datasets and trained networks here.")
@click.option("--output", type=click.Path(path_type=Path), help="Write <output>.json and <output>.md.")
def main(work: Path | None, output: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        results = [measure(case, work or Path(scratch)) for case in CASES]
    told = table(results)
    click.echo(told)
    if output:
        write_json(output.with_suffix(".json"), {"machine": facts("onnxruntime"), "results": results})
        output.with_suffix(".md").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
