"""The command: which experiments, on what data, where to work and where to write."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
import torch

from benchmarks.paper.bench import Bench
from benchmarks.paper.page import gather
from benchmarks.provenance import facts
from netslim.errors import NetslimError

__all__ = ["EXPERIMENTS", "main"]

# An experiment is a module with a function of its name; they are imported when they run.
EXPERIMENTS = {
    "table1": "errors, parameters and FLOPs of slimmed VGG, DenseNet and ResNet, with controls",
    "table2": "VGG-A for ImageNet, by structure, and one step of real training",
    "table3": "the MLP on MNIST: the paper's recipe and ours, every part ablated",
    "table4": "slimming pass after pass, VGG",
    "figure3": "resources of the slimmed networks as bars",
    "figure4": "scaling factors under three lambdas, VGG",
    "figure5": "error against pruned percentage, DenseNet",
    "figure6": "scaling factors of one layer over the epochs, VGG",
}
REPOSITORY = Path(__file__).resolve().parents[2]


@click.command(epilog="\n\n".join(f"{name}: {says}" for name, says in EXPERIMENTS.items()))
@click.option(
    "--only", multiple=True, type=click.Choice(sorted(EXPERIMENTS)), help="This one; may be repeated."
)
@click.option(
    "--seeds", type=click.IntRange(1), help="How many; by default 3 for MNIST and for --full, else 1."
)
@click.option(
    "--data", "root", required=True, type=click.Path(path_type=Path), help="Folder of the datasets."
)
@click.option(
    "--work",
    default=Path("benchmarks/work"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Keeps each network that was made; a run that was stopped goes on from there.",
)
@click.option(
    "--output",
    default=REPOSITORY / "benchmarks" / "results" / "paper",
    type=click.Path(path_type=Path),
    help="Where NAME.json and NAME.md go.  [default: benchmarks/results/paper]",
)
@click.option(
    "--images",
    default=REPOSITORY / "docs" / "images" / "results",
    type=click.Path(path_type=Path),
    help="Where plots go.  [default: docs/images/results]",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, exists=True),
    help="Put all results into this page, at its markers.",
)
@click.option(
    "--full", is_flag=True, help="The paper's networks and epochs; wants a GPU. Else reduced, to a CPU."
)
@click.option("--kept", is_flag=True, help="Make nothing: show what is there, leave out the rest.")
@click.option("--tiny", is_flag=True, help="So small that it proves nothing but that everything runs.")
def main(
    only: tuple[str, ...],
    seeds: int | None,
    root: Path,
    work: Path,
    output: Path,
    images: Path,
    page: Path | None,
    full: bool,
    kept: bool,
    tiny: bool,
) -> None:
    """Run the paper's experiments and write our numbers beside its own.

    Reduced runs have narrower or shallower networks of the same families, fewer images and fewer epochs.
    Their numbers are not to be compared with the paper's; that each row works is what they show.
    """
    if full and tiny:
        raise click.UsageError("--full and --tiny contradict each other")
    torch.set_num_threads(1 if not full else torch.get_num_threads())
    failed = []
    for name in only or EXPERIMENTS:
        click.echo(f"{name}: {EXPERIMENTS[name]}", err=True)
        bench = Bench(
            root=root,
            work=work,
            images=images,
            scale="full" if full else "tiny" if tiny else "reduced",
            asked_seeds=seeds,
            make=not kept,
        )
        try:
            result = getattr(importlib.import_module(f"benchmarks.paper.{name}"), name)(bench)
        except NetslimError as error:
            failed.append(name)
            click.echo(f"{name} was not run: {error}", err=True)
            continue
        told = facts("torchvision") | {
            "command": _command(name, seeds, full=full),
            "seeds": str(bench.seeds_used),
        }
        if minutes := bench.cpu_minutes():
            told["CPU minutes"] = f"{minutes:.1f}"
        click.echo(result.write(name, output, told))
    if page:
        gather(page, output.parent)
    raise SystemExit(bool(failed))


def _command(name: str, seeds: int | None, *, full: bool) -> str:
    """What to type to get this result again, wherever the data lie."""
    given = [f"--seeds {seeds}"] * bool(seeds) + ["--full"] * full
    return " ".join(["python benchmarks/paper --data <folder> --only", name, *given])
