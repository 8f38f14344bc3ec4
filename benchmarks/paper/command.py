"""The command line: which experiments, with which data, and where the results are written."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path

import click
import torch

from benchmarks.paper.context import Context
from benchmarks.paper.result import page
from benchmarks.provenance import facts
from benchmarks.stored import output_option, save
from netslim.errors import NetslimError

__all__ = ["EXPERIMENTS", "main"]

# Each experiment is a function in a module of its name, which is imported when the experiment runs.
EXPERIMENTS = {
    "table1": "errors, parameters and FLOPs of slim VGG, DenseNet and ResNet, with controls",
    "table2": "VGG-A for ImageNet: the structure, and one step of real training",
    "table3": "the MLP on MNIST: the paper's recipe and ours, with ablations",
    "table4": "slimming in several passes, VGG",
    "figure3": "resources of the slim networks as bars",
    "figure4": "scaling factors for three lambdas, VGG",
    "figure5": "error against pruned percentage, DenseNet",
    "figure6": "scaling factors of one layer over the epochs, VGG",
}


@click.command(epilog="\n\n".join(f"{name}: {text}" for name, text in EXPERIMENTS.items()))
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(EXPERIMENTS)), help="This one; may be repeated."
)
@click.option(
    "--seeds", type=click.IntRange(1), help="Number of seeds; default 3 for MNIST and with --full, else 1."
)
@click.option(
    "--data", "root", required=True, type=click.Path(path_type=Path), help="Folder of the datasets."
)
@click.option(
    "--work",
    default=Path("benchmarks/work"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Keeps every trained network; an interrupted run continues from there.",
)
@output_option
@click.option(
    "--full", is_flag=True, help="The paper's networks and epochs; needs a GPU. Default: reduced for a CPU."
)
@click.option("--kept", is_flag=True, help="Train nothing: show the networks in --work, leave out the rest.")
@click.option("--tiny", is_flag=True, help="So small that it only shows that everything runs.")
def main(
    only: tuple[str, ...],
    seeds: int | None,
    root: Path,
    work: Path,
    output: Path | None,
    full: bool,
    kept: bool,
    tiny: bool,
) -> None:
    """Run the paper's experiments and print our numbers beside the paper's.

    Reduced runs use narrower or shallower networks of the same families, fewer images and fewer epochs. Do
    not compare their numbers with the paper's; they show that each row works.
    """
    if full and tiny:
        raise click.UsageError("--full and --tiny contradict each other")
    torch.set_num_threads(1 if not full else torch.get_num_threads())
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        for name in only or EXPERIMENTS:
            click.echo(f"{name}: {EXPERIMENTS[name]}", err=True)
            context = Context(
                root=root,
                work=work,
                plots=output or Path(scratch),
                scale="full" if full else "tiny" if tiny else "reduced",
                asked_seeds=seeds,
                make=not kept,
            )
            try:
                result = getattr(importlib.import_module(f"benchmarks.paper.{name}"), name)(context)
            except NetslimError as error:
                failed = True
                click.echo(f"{name} was not run: {error}", err=True)
                continue
            origin = facts("torchvision") | {
                "command": _command(name, seeds, full=full),
                "seeds": str(context.seeds_used),
            }
            if minutes := context.cpu_minutes():
                origin["CPU minutes"] = f"{minutes:.1f}"
            stored = result.to_json(origin)
            click.echo(f"## {result.title}\n\n{page(stored)}\n")
            save(stored, name, output)
    raise SystemExit(failed)


def _command(name: str, seeds: int | None, *, full: bool) -> str:
    """The command that makes this result again."""
    options = [f"--seeds {seeds}"] * bool(seeds) + ["--full"] * full
    return " ".join(["python -m benchmarks.paper --data <folder> --only", name, *options])
