"""`netslim logs`: the log of a step of a run on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cli.connection import client_of, connection_options

if TYPE_CHECKING:
    from netslim_kfp.components.argo.workflow import Step
    from netslim_kfp.pipelines.cluster.run_reader import RunReader

__all__ = ["logs"]


@click.command(short_help="Show the log of a step on a cluster.")
@click.argument("run")
@click.argument("step", required=False)
@connection_options
@click.option("--list", "lists", is_flag=True, help="List the steps with their states instead.")
@click.option("--tail", type=click.IntRange(min=1), help="Only so many lines from the end.")
def logs(run: str, step: str | None, lists: bool, tail: int | None, **options: Any) -> None:
    """Show the log of STEP of the run RUN, also when its pod is gone.

    RUN is KFP's id, as in the link that `netslim submit` prints. STEP is a title such as "pass 1: prune", or
    a part of one. Without it: the step that failed first, or else the one that started last.
    """
    from netslim_kfp.pipelines.cluster.run_reader import RunReader

    reader = RunReader(client_of(options), run)
    state = reader.run().state
    steps = reader.steps()
    if not steps:
        remedy = "Wait for its first pod: kubectl get pods --selector pipeline/runid=" + run
        raise PipelineError("the server has no steps of it yet", field="run", value=run, remedy=remedy)
    if lists:
        for each in steps:
            message = f"  {each.message}" if each.message else ""
            click.echo(f"{reader.title(each):<24} {each.state}{message}")
        return
    chosen = reader.find(step, steps) if step else default_step(steps)
    click.echo(f"{reader.title(chosen)}, {chosen.state}; the run: {str(state).lower()}", err=True)
    text = reader.log(chosen)
    if not text:
        raise PipelineError(
            "the server has no log of it",
            field="step",
            value=reader.title(chosen),
            remedy=_remedy(reader, chosen),
        )
    lines = text.splitlines()
    click.echo("\n".join(lines[-tail:] if tail else lines))


def default_step(steps: list[Step]) -> Step:
    """The step that failed first; without one, the step with a pod that started last."""
    from netslim_kfp.pipelines.cluster.watch import Ending

    with_a_pod = [step for step in steps if step.pod] or steps
    return Ending("", steps).failed or with_a_pod[-1]


def _remedy(reader: RunReader, step: Step) -> str:
    if step.state == "cached":
        return "It came from the cache, so it has no pod in this run"
    from netslim_kfp.pipelines.cli.follow import describe

    return f"Its pod may not have started: {describe(reader.backend, reader.run_id, step)}"
