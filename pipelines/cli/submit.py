"""`netslim submit`: the same run on a Kubernetes cluster."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.options import config_from, pipeline_options, platform_options

if TYPE_CHECKING:
    from netslim_kfp.pipelines.cluster.profiles import Profile

__all__ = ["submit"]

CONNECTION = ("host", "namespace", "token", "token_file", "ca")


@click.command(short_help="Slim a network on a cluster.")
@pipeline_options
@platform_options
@click.option("--host", envvar="KF_PIPELINES_ENDPOINT", required=True, help="Address of KFP's API.")
@click.option(
    "--namespace", envvar="KF_PIPELINES_NAMESPACE", default="", help="Yours, where KFP serves several users."
)
@click.option(
    "--token",
    envvar="KF_PIPELINES_TOKEN",
    default="",
    help="Bearer token; other users of this machine can see a flag, but not the environment.",
)
@click.option(
    "--token-file",
    envvar="KF_PIPELINES_SA_TOKEN_PATH",
    default="",
    help="File with the token, read again as it rotates.",
)
@click.option("--ca", envvar="KF_PIPELINES_CA", default="", help="File of certificates to trust.")
@click.option("--ui", envvar="KF_PIPELINES_UI_ENDPOINT", help="Address for links.  [default: --host]")
@click.option("--experiment", help="KFP's experiment.  [default: netslim/ and the dataset]")
@click.option("--service-account", default="", help="Of the steps' pods.  [default: KFP's]")
@click.option("--wait", "waits", is_flag=True, help="Until it has ended; fail when it fails.")
@click.option("--cancel", "cancels", is_flag=True, help="Stop the run when --wait is interrupted by Ctrl-C.")
@click.option("--cron", default="", help='Again and again: "0 3 * * 1" is Mondays at three, UTC.')
def submit(
    profiles: str | None,
    nodes: int | None,
    checkpoints: str | None,
    ui: str | None,
    experiment: str | None,
    service_account: str,
    waits: bool,
    cancels: bool,
    cron: str,
    **options: Any,
) -> None:
    """Slim a network on a cluster that runs Kubeflow Pipelines.

    Takes the options of `run`, and a connection. Prints a link to the run; with --wait it ends with exit
    code 9 when the run does not succeed. NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG say where the images are.
    """
    from netslim_kfp.pipelines.cluster import submit as cluster
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
    from netslim_kfp.pipelines.cluster.profiles import load
    from netslim_kfp.pipelines.preflight import preflight_names
    from netslim_kfp.pipelines.slimming.pipeline import NAME

    if cron and waits:
        raise ConfigError("a schedule does not end", field="wait", remedy="Leave out --wait or --cron")
    if cancels and not waits:
        raise ConfigError("there is nothing to interrupt", field="cancel", remedy="Add --wait")
    backend = KfpClient(**{name: options.pop(name) for name in CONNECTION})
    config = config_from(options)
    preflight_names(config, factories=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{NAME}.yaml")
        compile_for(config, file, load(profiles, gpus=config.gpus, nodes=nodes, checkpoints=checkpoints))
        click.echo(f"Backend   KFP {backend.check()}")
        version = cluster.upload(backend, file, NAME)
    click.echo(f"Pipeline  {version.name}, {'uploaded' if version.new else 'already there'}")
    submission = cluster.Submission(
        version=version,
        name=f"{config.model}-{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}",
        arguments=config.pipeline_arguments(),
        experiment=experiment or config.experiment,
        service_account=service_account,
    )
    address = (ui or backend.host).rstrip("/")
    if cron:
        schedule_id = cluster.schedule(backend, submission, cron)
        click.echo(f"Schedule  {address}/#/recurringrun/details/{schedule_id}")
        return
    run_id = cluster.start(backend, submission)
    link = f"{address}/#/runs/details/{run_id}"
    click.echo(f"Run       {link}")
    if waits:
        follow(backend, run_id, link, cancels=cancels)


def compile_for(config: Any, file: Path, profiles: Mapping[str, Profile]) -> None:
    """Compile the pipeline of a run with what its steps get from the cluster."""
    from netslim_kfp.pipelines.cluster.platform import placed_on
    from netslim_kfp.pipelines.compiler.compile import compile_pipeline
    from netslim_kfp.pipelines.slimming.pipeline import build

    place = placed_on(profiles)
    compile_pipeline(build(config.passes, baseline=config.baseline, place=place), file, cache=config.cache)


def follow(backend: Any, run_id: str, link: str, *, cancels: bool) -> None:
    """Wait for the run to end; an interrupted wait leaves it running, unless it is to be canceled."""
    from netslim_kfp.pipelines.cluster import submit as cluster

    started = time.monotonic()

    def told(state: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        click.echo(f"{minutes:4d}:{seconds:02d}   {state.lower()}")

    try:
        cluster.wait(backend, run_id, told=told)
    except KeyboardInterrupt:
        if cancels:
            cluster.cancel(backend, run_id)
            click.echo("Canceled.", err=True)
        else:
            click.echo(f"The run goes on: {link}", err=True)
        raise
