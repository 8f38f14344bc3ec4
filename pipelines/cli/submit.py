"""`netslim submit`: the same run, or a sweep, on a cluster that runs Kubeflow Pipelines."""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netslim.errors import ConfigError
from netslim_kfp.pipelines.cli.connection import client_of, connection_options, run_link
from netslim_kfp.pipelines.cli.options import (
    LOCAL,
    config_from,
    parallel_option,
    platform_options,
    run_options,
)
from netslim_kfp.pipelines.cli.sweep_points import LAMBDAS, PERCENTS

if TYPE_CHECKING:
    from netslim_kfp.pipelines.cli.follow import Followed
    from netslim_kfp.pipelines.cli.submission import Plan
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
    from netslim_kfp.pipelines.cluster.submit import Submission

__all__ = ["submit"]

SLOW = 30.0  # seconds to start a run, from which on the likely reason is printed


@dataclass(frozen=True)
class Settings:
    """What the command does beside starting the run."""

    waits: bool
    cancels: bool
    resubmits: int
    json: bool
    tracking_uri: str | None
    ui: str | None

    def __post_init__(self) -> None:
        if self.cancels and not self.waits:
            raise ConfigError("there is nothing to interrupt", field="cancel", remedy="Add --wait")
        if self.resubmits and not self.waits:
            problem = "a run can be submitted again only when its end is awaited"
            raise ConfigError(problem, field="resubmit", value=self.resubmits, remedy="Add --wait")

    def echo(self, line: str) -> None:
        """Print a line for people: to stderr when stdout is for JSON."""
        click.echo(line, err=self.json)


@click.command(short_help="Slim a network on a cluster.")
@run_options(leave_out=LOCAL)
@platform_options
@connection_options
@click.option("--ui", envvar="KF_PIPELINES_UI_ENDPOINT", help="Address for links.  [default: --host]")
@click.option("--experiment", help="KFP's experiment.  [default: netslim/ and the dataset]")
@click.option("--service-account", default="", help="Service account of the steps' pods.  [default: KFP's]")
@click.option("--wait", "waits", is_flag=True, help="Wait until the run has ended; fail when it fails.")
@click.option("--cancel", "cancels", is_flag=True, help="Stop the run when --wait is interrupted by Ctrl-C.")
@click.option(
    "--resubmit",
    "resubmits",
    type=click.IntRange(min=0),
    default=0,
    help="With --wait: submit a failed run again, at most so often, but not after a user's mistake.",
)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    help="With --wait: the cluster's MLflow server, as this machine reaches it, for the table at the end.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; lines for people go to stderr.")
@click.option("--cron", default="", help='Run on a schedule: "0 3 * * 1" is Mondays at three, UTC.')
@click.option("--sweep", type=click.Choice(["lambda", "percent"]), help="A sweep instead of passes.")
@click.option("--lambdas", default=LAMBDAS, show_default=True, help="Points of --sweep lambda.")
@click.option("--total-shrinkages", "shrinkages", default="", help="Total shrinkages instead of --lambdas.")
@click.option("--percents", default=PERCENTS, show_default=True, help="Points of --sweep percent.")
@parallel_option
@click.option(
    "--kfp-mlflow/--no-kfp-mlflow",
    default=True,
    help="Whether KFP's own MLflow plugin may record the run.  [default: as the backend is set up]",
)
def submit(
    profiles: str | None,
    nodes: int | None,
    checkpoints: str | None,
    ui: str | None,
    experiment: str | None,
    service_account: str,
    waits: bool,
    cancels: bool,
    resubmits: int,
    tracking_uri: str | None,
    as_json: bool,
    cron: str,
    sweep: str | None,
    lambdas: str,
    shrinkages: str,
    percents: str,
    parallel: int,
    kfp_mlflow: bool,
    **options: Any,
) -> None:
    """Slim a network on a cluster that runs Kubeflow Pipelines.

    The options are those of `run`, and a connection. A link to the run is printed; with --wait also a line
    for each step, and the exit code is 9 when the run does not succeed. NETSLIM_REGISTRY and
    NETSLIM_IMAGE_TAG name the images.
    """
    from netslim_kfp.pipelines.cli.submission import plan_for
    from netslim_kfp.pipelines.cluster import submit as cluster
    from netslim_kfp.pipelines.cluster.profiles import load
    from netslim_kfp.pipelines.preflight import check_names

    if cron and waits:
        raise ConfigError("a schedule does not end", field="wait", remedy="Leave out --wait or --cron")
    settings = Settings(waits, cancels, resubmits, as_json, tracking_uri, ui)
    client = client_of(options)
    config = config_from(options)
    plan = plan_for(
        config, sweep, {"lambdas": lambdas, "shrinkages": shrinkages, "percents": percents}, parallel
    )
    check_names(plan.config, factories=False)
    for warning in plan.config.warnings:
        click.echo(warning, err=True)
    plan = replace(plan, profiles=load(profiles, gpus=config.gpus, nodes=nodes, checkpoints=checkpoints))
    version = _upload(client, plan, settings, run_key="", check=True)
    submission = cluster.Submission(
        version=version,
        name=f"{config.run_name()}-{uuid.uuid4().hex[:6]}",  # unique, to find the run if an answer gets lost
        arguments=plan.arguments,
        experiment=experiment or config.experiment,
        service_account=service_account,
        kfp_mlflow=kfp_mlflow,
    )
    if cron:
        schedule_id = cluster.schedule(client, submission, cron)
        settings.echo(f"Schedule  {(ui or client.host).rstrip('/')}/#/recurringrun/details/{schedule_id}")
        if as_json:
            click.echo(json.dumps({"schedule": schedule_id}))
        return
    run_id = _start(client, submission, settings)
    if waits:
        _wait(client, plan, submission, run_id, settings)
    elif as_json:
        click.echo(json.dumps({"run": run_id, "link": run_link(client, ui, run_id)}))


def _upload(client: KfpClient, plan: Plan, settings: Settings, *, run_key: str, check: bool = False) -> Any:
    """Compile the plan's pipeline, and find or make its version on the backend."""
    from netslim_kfp.pipelines.cluster import submit as cluster

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{plan.name}.yaml")
        plan.compile(file, run_key=run_key)
        if check:
            settings.echo(f"Backend   KFP {client.check()}")
        version = cluster.upload(client, file, plan.name)
    settings.echo(f"Pipeline  {version.name}, {'uploaded' if version.new else 'already there'}")
    return version


def _start(client: KfpClient, submission: Submission, settings: Settings) -> str:
    """Start the run, print its link, and return its id."""
    from netslim_kfp.pipelines.cluster import submit as cluster

    began = time.monotonic()
    run_id = cluster.start(client, submission)
    settings.echo(f"Run       {run_link(client, settings.ui, run_id)}")
    if time.monotonic() - began > SLOW:
        settings.echo(
            f"KFP took {time.monotonic() - began:.0f} s to start it. If its own MLflow plugin waits for a "
            "server that does not answer, --no-kfp-mlflow leaves it out (docs/operate.md)."
        )
    return run_id


def _wait(client: KfpClient, plan: Plan, submission: Submission, run_id: str, settings: Settings) -> None:
    """Follow the run, submit it again where that was asked for and makes sense, and print the table.

    All of the runs are one run in MLflow, whose key is the id of the first.
    """
    from netslim_kfp.pipelines.cli.follow import Follower
    from netslim_kfp.pipelines.cli.recorded_table import print_table

    follower = Follower(client, settings.echo)
    key = run_id
    runs: list[Followed] = []
    while True:
        link = run_link(client, settings.ui, run_id)
        runs.append(follower.follow(run_id, link, cancels=settings.cancels))
        if len(runs) > settings.resubmits or not runs[-1].worth_another_try:
            break
        settings.echo(f"Submitting it again, {len(runs)} of {settings.resubmits}.")
        version = _upload(client, plan, settings, run_key=key)
        again = replace(submission, version=version, name=f"{submission.name}-{len(runs) + 1}")
        run_id = _start(client, again, settings)
    followed = runs[-1]
    passes = print_table(settings.tracking_uri, key, settings.echo)
    if settings.json:
        found = {**followed.to_json(), "link": link, "mlflow_run_key": key, "passes": passes}
        click.echo(json.dumps({**found, "earlier_runs": [run.run_id for run in runs[:-1]]}))
    followed.raise_unless_succeeded()
