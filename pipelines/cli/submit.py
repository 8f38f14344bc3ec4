"""`netslim submit`: the same run on a cluster that runs Kubeflow Pipelines."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.options import LOCAL, config_from, platform_options, run_options

if TYPE_CHECKING:
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
    from netslim_kfp.pipelines.cluster.profiles import Profile
    from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["submit"]

CONNECTION = ("host", "namespace", "token", "token_file", "ca")


@click.command(short_help="Slim a network on a cluster.")
@run_options(leave_out=LOCAL)
@platform_options
@click.option("--host", envvar="KF_PIPELINES_ENDPOINT", required=True, help="Address of KFP's API.")
@click.option(
    "--namespace",
    envvar="KF_PIPELINES_NAMESPACE",
    default="",
    help="Your namespace, where KFP serves several users.",
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
    help="File with the token, read again for each request.",
)
@click.option("--ca", envvar="KF_PIPELINES_CA", default="", help="File of certificates to trust.")
@click.option("--ui", envvar="KF_PIPELINES_UI_ENDPOINT", help="Address for links.  [default: --host]")
@click.option("--experiment", help="KFP's experiment.  [default: netslim/ and the dataset]")
@click.option("--service-account", default="", help="Service account of the steps' pods.  [default: KFP's]")
@click.option("--wait", "waits", is_flag=True, help="Wait until the run has ended; fail when it fails.")
@click.option("--cancel", "cancels", is_flag=True, help="Stop the run when --wait is interrupted by Ctrl-C.")
@click.option("--cron", default="", help='Run on a schedule: "0 3 * * 1" is Mondays at three, UTC.')
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

    The options are those of `run`, and a connection. A link to the run is printed; with --wait the exit code
    is 9 when the run does not succeed. NETSLIM_REGISTRY and NETSLIM_IMAGE_TAG name the images.
    """
    from netslim_kfp.pipelines.cluster import submit as cluster
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
    from netslim_kfp.pipelines.cluster.profiles import load
    from netslim_kfp.pipelines.preflight import check_names
    from netslim_kfp.pipelines.slimming.pipeline import NAME

    if cron and waits:
        raise ConfigError("a schedule does not end", field="wait", remedy="Leave out --wait or --cron")
    if cancels and not waits:
        raise ConfigError("there is nothing to interrupt", field="cancel", remedy="Add --wait")
    client = KfpClient(**{name: options.pop(name) for name in CONNECTION})
    config = config_from(options)
    check_names(config, factories=False)
    for warning in config.warnings:
        click.echo(warning, err=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{NAME}.yaml")
        compile_for(config, file, load(profiles, gpus=config.gpus, nodes=nodes, checkpoints=checkpoints))
        click.echo(f"Backend   KFP {client.check()}")
        version = cluster.upload(client, file, NAME)
    click.echo(f"Pipeline  {version.name}, {'uploaded' if version.new else 'already there'}")
    submission = cluster.Submission(
        version=version,
        name=f"{config.model}-{config.dataset}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}",
        arguments=config.pipeline_arguments(),
        experiment=experiment or config.experiment,
        service_account=service_account,
    )
    address = (ui or client.host).rstrip("/")
    if cron:
        schedule_id = cluster.schedule(client, submission, cron)
        click.echo(f"Schedule  {address}/#/recurringrun/details/{schedule_id}")
        return
    run_id = cluster.start(client, submission)
    link = f"{address}/#/runs/details/{run_id}"
    click.echo(f"Run       {link}")
    if waits:
        follow(client, run_id, link, cancels=cancels)


def compile_for(config: RunConfig, file: Path, profiles: Mapping[str, Profile]) -> None:
    """Compile the pipeline of a run with the profiles of its steps."""
    from netslim_kfp.pipelines.cluster.platform import placed_on
    from netslim_kfp.pipelines.compiler.compile import compile_pipeline
    from netslim_kfp.pipelines.slimming.pipeline import build

    place = placed_on(profiles)
    compile_pipeline(build(config.passes, baseline=config.baseline, place=place), file, cache=config.cache)


def follow(client: KfpClient, run_id: str, link: str, *, cancels: bool) -> None:
    """Wait for the run to end. After an interrupt the run goes on, unless `cancels`."""
    from netslim_kfp.pipelines.cluster import submit as cluster

    started = time.monotonic()

    def print_state(state: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        click.echo(f"{minutes:4d}:{seconds:02d}   {state.lower()}")

    try:
        cluster.wait(client, run_id, on_state=print_state)
    except KeyboardInterrupt:
        if cancels:
            cluster.cancel(client, run_id)
            click.echo("Canceled.", err=True)
        else:
            click.echo(f"The run goes on: {link}", err=True)
        raise
