"""`netslim sensitivity`: how much the error rises when one layer alone loses channels."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from netslim.errors import ConfigError

if TYPE_CHECKING:
    from netslim.data import PackedDataset
    from netslim.pruning.sensitivity_table import Sensitivity

__all__ = ["sensitivity"]

HEAD = """\
# Shares of channels to prune, as `netslim sensitivity` proposed them. The error of the whole network is
# {error:.2f} % on {images}.
# One layer alone, pruned by its share, adds at most {increase:g}. All of them together add more.
# Tied layers have one share: that of the last line for any of them.
"""


class Measured(NamedTuple):
    """The sensitivity of a network, the images it was measured on, and the result of all shares together."""

    found: Sensitivity
    images: str
    together: str


@click.command(short_help="Measure which layers can lose channels.")
@click.argument("model")
@click.option(
    "--dataset",
    help="The `dataset` folder of a step, or a name as in `netslim run`.  [default: that of the run]",
)
@click.option("--data-root", default="", help="Folder or s3:// prefix with the files of a named dataset.")
@click.option("--validation", type=click.IntRange(0), default=0, help="Images held out of training.")
@click.option("--image-size", type=click.IntRange(0), default=0, help="Scale and crop images, as in the run.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the validation images, as in the run.")
@click.option("--allow-factory", default="", help="A package.module:factory that a model folder may call.")
@click.option(
    "--shares", default="0.25,0.5,0.75", show_default=True, help="Shares of a layer's channels to remove."
)
@click.option(
    "--max-increase",
    type=float,
    default=1.0,
    show_default=True,
    help="Percentage points of error that each layer may cost.",
)
@click.option(
    "--policy",
    type=click.Choice(["auto", "group", "select"]),
    default="auto",
    show_default=True,
    help="As in `netslim run`.",
)
@click.option(
    "--images", type=click.IntRange(1), default=1000, show_default=True, help="Measure on so many images."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the shares to this file, for `netslim run --config`.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the errors into this PNG file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; lines for people go to stderr.")
def sensitivity(
    model: str, dataset: str | None, shares: str, plot: Path | None, as_json: bool, **options: Any
) -> None:
    """Prune one layer at a time of a trained network, and measure the error, without any training.

    MODEL is the folder of a run on this machine (its first sparse training is measured, on its dataset), the
    `model` folder of a training step, or package.module:factory, whose code is imported and run, for a
    network with trained weights. The last two need a dataset. The error is that of validation images if some
    are held out, else of training images: shares must not be chosen by test images.
    """
    from rich.console import Console
    from rich.measure import Measurement

    from netslim.cli.sensitivity_inputs import folders_of_run, opened_dataset
    from netslim.storage.atomic import write_bytes

    if plot:  # before anything is measured: its library may be missing
        from netslim.report.sensitivity_plot import sensitivity_png
    tried = _numbers(shares)
    if folders := folders_of_run(Path(model)):
        model, dataset = str(folders[0]), dataset or str(folders[1])
    if not dataset:
        remedy = "Give the `dataset` folder of the step that prepared it, or a name such as cifar10"
        raise ConfigError("must be given with such a model", field="dataset", remedy=remedy)
    with opened_dataset(dataset, options) as packed:
        found, images, together = _measure(packed, model, tried, **options)
    output = options["output"]
    if output:
        _write(output, found, images)
    if plot:
        write_bytes(plot, sensitivity_png(found))
    console = Console(stderr=as_json)
    table = found.table()
    width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    lines = [
        *(f"note: {note}" for note in found.notes),
        together,
        f"Prune by them: netslim run --config {output}, with the options of the run"
        if output
        else "With --output layers.yaml they are written for `netslim run --config layers.yaml`",
    ]
    head = f"Error {found.error:.2f} % of the whole network, on {images}"
    console.print(head, highlight=False, markup=False, soft_wrap=True)
    Console(stderr=as_json, width=max(width, console.width)).print(table)  # no name is shortened
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if as_json:
        click.echo(json.dumps({"images": images, **found.to_json()}, indent=1))


def _measure(
    packed: PackedDataset,
    model: str,
    shares: list[float],
    *,
    allow_factory: str,
    max_increase: float,
    policy: Any,
    images: int,
    **_: Any,
) -> Measured:
    """Measure the network `model` on images of a dataset, on a GPU if there is one."""
    import netslim

    measure = netslim.sensitivity  # before torch is imported: its error names the extra to install
    import torch

    from netslim.cli.sensitivity_inputs import images_to_choose_by, recalibration_batches, trained_network
    from netslim.report.tables import times
    from netslim.training.device import best_device, model_on_device
    from netslim.training.evaluate import evaluate
    from netslim.training.precision import float32_products

    info, device = packed.info, best_device()
    network = trained_network(model, info, allow_factory)
    split, described = images_to_choose_by(packed, images)
    batches = recalibration_batches(packed, device)
    example = torch.zeros(1, info.channels, *info.image_size, device=device)
    with (
        model_on_device(network, device) if device.type == "cuda" else nullcontext(),
        float32_products(device, tf32=False),
    ):
        found = measure(
            network,
            example,
            lambda pruned: evaluate(pruned, split, info),
            batches=batches,
            shares=shares,
            max_increase=max_increase,
            policy=policy,
        )
        pruned = netslim.prune(network, example, layers=found.layers(), policy=policy)
        netslim.recalibrate(pruned.model, batches)
        error = evaluate(pruned.model, split, info)
    before, after = pruned.before, pruned.after
    together = (
        f"All shares together: error {error:.2f} % before fine-tuning, {after.channels:,} of "
        f"{before.channels:,} channels, {times(before.params / after.params)} fewer parameters, "
        f"{times(before.flops / after.flops)} fewer FLOPs"
    )
    return Measured(found, described, together)


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        remedy = "Write numbers with commas between them, such as 0.25,0.5,0.75"
        raise ConfigError("not a list of numbers", field="shares", value=text, remedy=remedy) from None


def _write(file: Path, found: Sensitivity, images: str) -> None:
    """Write the shares as a config file of `netslim run`."""
    import yaml

    from netslim.storage.atomic import write_bytes

    head = HEAD.format(images=images, error=found.error, increase=found.max_increase)
    text = head + yaml.safe_dump({"layers": found.layers()}, sort_keys=False, allow_unicode=True)
    write_bytes(file, text.encode())
