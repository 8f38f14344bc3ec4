"""Coupled channels: one choice for all of them (group) beside one choice for each BatchNorm (select).

    python -m benchmarks.policies

Three networks with residual or concatenated streams are trained with sparsity on scikit-learn's digits
(8 x 8 pixels) and pruned under both policies. The error is measured right after pruning: with bias
compensation, and with recalibration as well. Latency is that of the exported file in onnxruntime, for one
image and one thread; the files take turns.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

import netslim
from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from benchmarks.trained import Case, prepare, sparse_network, training_images
from netslim.data import PackedDataset
from netslim.onnx_export.export import export_onnx
from netslim.onnx_export.runtime import latency
from netslim.training.evaluate import evaluate

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
    """Prune, measure the error, and write the ONNX file to `path`."""
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
    header = ("network", "policy", "channels", "params", "MACs", "ms", "error, %", "recalibrated, %")
    return markdown(header, rows)


def page(result: Mapping[str, Any]) -> str:
    return f"{table(result['results'])}\n\n{bullets(result['facts'])}"


@click.command()
@click.option("--work", type=click.Path(path_type=Path), help="Keep datasets and trained networks here.")
@output_option
def main(work: Path | None, output: Path | None) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        results = [measure(case, work or Path(scratch)) for case in CASES]
    result = {"facts": facts("onnxruntime"), "results": results}
    click.echo(page(result))
    save(result, "policies", output)


if __name__ == "__main__":
    main()
