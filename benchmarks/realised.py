"""The realised share of a FLOP reduction: measured speed-up divided by counted, for slim networks in ONNX.

    python -m benchmarks.realised [--network vgg19 ...]

Networks are not trained, because time depends on widths and not on weights. Their scaling factors are drawn
at random, so about the same share of every layer is removed; a trained network loses more of some layers than
of others. Each network is pruned by 50 and 70 % of its channels, with free widths and with widths rounded up
to multiples of 8. All files of a network take turns in onnxruntime on one thread.

*blocked* counts the convolutions that onnxruntime runs in its blocked layout, whose inner loops handle 8 or
16 channels at a time. A convolution whose width is not a multiple of that uses a slower kernel, and the data
around it are copied from one layout to the other. The rest of the FLOP reduction is lost there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import onnx
import onnxruntime
import torch
from torch import nn

import netslim
from benchmarks.provenance import bullets, facts, markdown
from benchmarks.stored import output_option, save
from netslim import models
from netslim.bundle.benchmark import compare
from netslim.onnx_export.export import export_onnx

NETWORKS: dict[str, tuple[str, tuple[int, int, int], int]] = {
    "demo": ("vgg-digits", (1, 8, 8), 10),
    "mnist-mlp": ("mlp", (1, 28, 28), 10),
    "vgg19": ("vgg19", (3, 32, 32), 10),
    "resnet50": ("resnet50", (3, 224, 224), 1000),
    "mobilenet_v2": ("mobilenet_v2", (3, 224, 224), 1000),
}
PERCENTS, MULTIPLES, BATCHES = (0.5, 0.7), (1, 8), (1, 32)


def random_network(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network in eval mode, with random scaling factors without ties."""
    torch.manual_seed(0)
    model = models.build(
        models.resolve(name, num_classes=classes, in_channels=shape[0], image_size=shape[1:])
    )
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.1, 1)
    return model.eval()


def measure(network: str, work: Path, seconds: float) -> list[dict[str, Any]]:
    name, shape, classes = NETWORKS[network]
    wide = random_network(name, shape, classes)
    example = torch.zeros(1, *shape)
    files = [work / f"{network}.onnx"]
    export_onnx(wide, files[0], example_shape=shape, metadata={})
    rows: list[dict[str, Any]] = []
    for percent in PERCENTS:
        for multiple in MULTIPLES:
            result = netslim.prune(wide, example, percent=percent, channel_multiple=multiple)
            files.append(work / f"{network}-{percent}-{multiple}.onnx")
            export_onnx(result.model, files[-1], example_shape=shape, metadata={})
            fewer = result.before.flops / result.after.flops
            rows.append({"network": network, "percent": percent, "multiple": multiple, "flops_fewer": fewer})
    base, *slim = compare(files, seconds=seconds, batch_sizes=BATCHES)
    for row, measured in zip(rows, slim, strict=True):
        for batch in BATCHES:
            row[f"faster_b{batch}"] = base.latency[batch].median_ms / measured.latency[batch].median_ms
            row[f"realised_b{batch}"] = row[f"faster_b{batch}"] / row["flops_fewer"]
            row[f"memory_fewer_b{batch}"] = base.peak_kib[batch] / measured.peak_kib[batch]
            row[f"ms_b{batch}"] = measured.latency[batch].median_ms
            row[f"wide_ms_b{batch}"] = base.latency[batch].median_ms
        row["blocked"], row["convolutions"] = blocked(measured.path)
        row["file_fewer"] = base.bytes / measured.bytes
    return rows


def blocked(file: Path) -> tuple[int, int]:
    """Convolutions in onnxruntime's blocked layout, and all, in the graph as it optimises it here."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(file.with_suffix(".optimised"))
    options.log_severity_level = 3  # hides a warning that such a file is for this machine only
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node
    domains = [node.domain for node in nodes if node.op_type in ("Conv", "FusedConv")]
    return domains.count("com.microsoft.nchwc"), len(domains)


def table(rows: list[dict[str, Any]]) -> str:
    header = [
        "network",
        "pruned",
        "widths",
        "FLOPs fewer",
        "faster, b=1",
        "faster, b=32",
        "realised, b=32",
        "blocked",
    ]
    cells = [
        [
            row["network"],
            f"{row['percent']:.0%}",
            "multiples of 8" if row["multiple"] == 8 else "free",
            *(f"{row[key]:.1f}x" for key in ("flops_fewer", "faster_b1", "faster_b32")),
            f"{row['realised_b32']:.2f}",
            f"{row['blocked']} of {row['convolutions']}",
            f"{row['memory_fewer_b32']:.1f}x",
            f"{row['file_fewer']:.1f}x",
        ]
        for row in rows
    ]
    return markdown([*header, "memory, b=32", "file"], cells)


def page(result: Mapping[str, Any]) -> str:
    return f"{table(result['rows'])}\n\n{bullets(result['facts'])}"


@click.command()
@output_option
@click.option("--network", "chosen", multiple=True, type=click.Choice(list(NETWORKS)), help="[default: all]")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds for each file and batch size.")
def main(output: Path, chosen: tuple[str, ...], seconds: float) -> None:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for network in chosen or NETWORKS:
            rows += measure(network, Path(folder), seconds)
            click.echo(f"{network} done", err=True)
    result = {"facts": facts("onnxruntime"), "rows": rows}
    click.echo(page(result))
    save(result, "realised", output)


if __name__ == "__main__":
    main()
