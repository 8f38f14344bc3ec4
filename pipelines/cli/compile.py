"""`netslim compile`: write a pipeline as a file for any KFP backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from netslim_kfp.pipelines.cli.options import gpus_option, parallel_option, platform_options

__all__ = ["compile_"]


@click.command("compile", short_help="Write the pipeline as KFP's YAML.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default="network-slimming.yaml",
    show_default=True,
    help="The file to write.",
)
@click.option(
    "--pipeline",
    type=click.Choice(["slimming", "sweep-lambda", "sweep-percent"]),
    default="slimming",
    show_default=True,
    help="Which pipeline.",
)
@click.option(
    "--max-passes", type=int, default=3, show_default=True, help="Most passes that a run can ask for, 1 to 6."
)
@click.option(
    "--baseline/--no-baseline", default=True, help="With or without the network that is trained normally."
)
@parallel_option
@gpus_option
@platform_options
def compile_(
    output: Path,
    pipeline: str,
    max_passes: int,
    baseline: bool,
    parallel: int,
    profiles: str | None,
    **trainings: Any,
) -> None:
    """Write the pipeline as KFP YAML for upload to a cluster, where its inputs are the options of `run`.

    NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG name the registry and the tag of the images.
    """
    from netslim_kfp.pipelines.cli.input_notes import input_notes
    from netslim_kfp.pipelines.cluster.platform import placed_on
    from netslim_kfp.pipelines.cluster.profiles import load
    from netslim_kfp.pipelines.compiler.compile import compile_pipeline
    from netslim_kfp.pipelines.compiler.size_estimate import LIMIT, estimate_size, packed_size
    from netslim_kfp.pipelines.slimming.pipeline import build
    from netslim_kfp.pipelines.sweeps.pipeline import build_lambda, build_percent

    place = placed_on(load(profiles, **trainings))
    if pipeline == "slimming":
        built = build(max_passes, baseline=baseline, place=place)
    else:
        builders = {"sweep-lambda": build_lambda, "sweep-percent": build_percent}
        built = builders[pipeline](place=place, parallel=parallel)
    ir = compile_pipeline(built, output, notes=input_notes())
    steps = sum("executorLabel" in component for component in ir["components"].values())
    click.echo(f"{output}: {steps} steps, {output.stat().st_size / 1024:.0f} KB")
    live = estimate_size(*yaml.safe_load_all(output.read_text(encoding="utf-8")))
    packed = f", which Argo packs to {packed_size(live) / 2**20:.2f}" if live > LIMIT else ""
    click.echo(f"A run of all its steps grows to about {live / 2**20:.2f} MiB{packed}; the limit is 1 MiB")
    if packed_size(live) > LIMIT:
        click.echo("Argo would refuse it: compile fewer --max-passes, or shorten the profiles.", err=True)
