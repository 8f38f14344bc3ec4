"""Wait for a run on a cluster: a line for each step, and at its end what happened and the table."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from netslim.errors import PipelineError

if TYPE_CHECKING:
    from netslim_kfp.components.argo.causes import Cause
    from netslim_kfp.components.argo.workflow import Step
    from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
    from netslim_kfp.pipelines.cluster.run_reader import RunReader
    from netslim_kfp.pipelines.cluster.watch import Ending, Event

__all__ = ["Followed", "Follower"]

LOG_LINES = 20
CLOSING_LENGTH = 160


@dataclass(frozen=True)
class Followed:
    """A run that has ended; `cause` and `log` belong to the step that failed first, if one did."""

    run_id: str
    ending: Ending
    titles: dict[str, str]
    title: str = ""
    cause: Cause | None = None
    log: tuple[str, ...] = ()

    @property
    def worth_another_try(self) -> bool:
        """Whether the same run may succeed when it is submitted again."""
        return self.cause is not None and self.cause.worth_another_try

    def raise_unless_succeeded(self) -> None:
        """Raise PipelineError with the step and the cause, when the run failed or was canceled."""
        if self.ending.state == "succeeded":
            return
        if self.ending.state == "canceled":
            raise PipelineError("the run was canceled", field="run", value=self.run_id)
        if self.cause is None:
            remedy = "The page of the run has more"
            raise PipelineError("the run failed", field="run", value=self.run_id, remedy=remedy)
        detail = f" ({self.cause.detail.rstrip('.')})" if self.cause.detail else ""
        problem = f"failed, {self.cause.word}{detail}"
        raise PipelineError(problem, field=self.title, remedy=self.cause.remedy or None)

    def to_json(self) -> dict[str, Any]:
        """The run as JSON data, for scripts."""
        steps = [
            {
                "step": self.titles[str(step.key)],
                "task": step.task,
                "state": step.state,
                "seconds": round(step.seconds, 1),
                "tries": step.tries,
                "pod": step.pod,
            }
            for step in self.ending.steps
        ]
        found: dict[str, Any] = {"run": self.run_id, "state": self.ending.state, "steps": steps}
        if self.cause:
            found["failure"] = {
                "step": self.title,
                "cause": self.cause.word,
                "message": self.cause.detail,
                "exit_code": self.cause.code,
                "log": list(self.log),
            }
        return found


@dataclass
class Follower:
    """Follows runs and prints lines about them.

    Args:
        client: the backend.
        echo: prints one line.
        every: seconds between two looks at the run.
    """

    client: KfpClient
    echo: Callable[[str], None] = click.echo
    every: float = 10.0
    _began: float = field(default_factory=time.monotonic, init=False)

    def follow(self, run_id: str, link: str, *, cancels: bool = False) -> Followed:
        """Wait for the run to end. After Ctrl-C the run goes on, unless `cancels`.

        Raises:
            KeyboardInterrupt: after Ctrl-C.
            PipelineError: the server refuses. A run that fails raises nothing here.
        """
        from netslim_kfp.pipelines.cluster.run_reader import RunReader
        from netslim_kfp.pipelines.cluster.submit import cancel
        from netslim_kfp.pipelines.cluster.watch import watch

        reader = RunReader(self.client, run_id)
        try:
            ending = watch(reader, every=self.every, on_event=lambda event: self._print(reader, event))
        except KeyboardInterrupt:
            if cancels:
                cancel(self.client, run_id)
                click.echo("Canceled.", err=True)
            else:
                click.echo(f"The run goes on: {link}", err=True)
            raise
        followed = self._explain(reader, ending)
        if followed.cause:
            self.echo(f"{followed.title}: {followed.cause.word}. The end of its log:")
            for line in followed.log or ("(the server has no log of it)",):
                self.echo(f"  | {line}")
            self.echo(f'All of it: netslim logs {run_id} "{followed.title}", or {link}')
        return followed

    def _explain(self, reader: RunReader, ending: Ending) -> Followed:
        from netslim_kfp.components.argo.causes import cause_of, own_lines

        titles = {str(step.key): reader.title(step) for step in ending.steps}
        step = ending.failed
        if ending.state != "failed" or step is None:
            return Followed(reader.run_id, ending, titles)
        log = reader.log(step)
        cause = cause_of(step, log)
        lines = tuple(own_lines(log, LOG_LINES))
        return Followed(reader.run_id, ending, titles, titles[str(step.key)], cause, lines)

    def _print(self, reader: RunReader, event: Event) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        clock = f"{minutes:4d}:{seconds:02d}  "
        if event.step is None:
            self.echo(f"{clock} {event.kind}")
            return
        title = f"{clock} {reader.title(event.step):<24}"
        if event.kind == "waiting":
            reason = event.step.message or "no reason is known yet"
            self.echo(f"{title} waits for its pod: {reason}")
            self.echo(f"{'':<9}{describe(self.client, reader.run_id, event.step)}")
        elif event.kind == "succeeded":
            self.echo(
                f"{title} done in {duration(event.step.seconds)}{self._closing_line(reader, event.step)}"
            )
        elif event.kind == "cached":
            self.echo(f"{title} from the cache")
        elif event.kind == "failed":
            reason = f": {event.step.message}" if event.step.message else ""
            self.echo(f"{title} failed{reason}")
        else:
            self.echo(f"{title} {event.kind}")

    def _closing_line(self, reader: RunReader, step: Step) -> str:
        """The last line of the step's log, which is what it did."""
        from netslim_kfp.components.argo.causes import own_lines

        lines = own_lines(reader.log(step), 1)
        if not lines:
            return ""
        closed = re.fullmatch(r"netslim: .+ done in [\d.]+ s(?:: (.+))?", lines[0])  # netslim.steps.step_log
        text = (closed[1] or "") if closed else lines[0]
        return f": {text[:CLOSING_LENGTH]}" if text else ""


def describe(client: KfpClient, run_id: str, step: Step) -> str:
    """The command that shows the events of a step's pod, or of all pods of the run."""
    namespace = f" --namespace {client.namespace or 'kubeflow'}"
    if step.pod:
        return f"kubectl describe pod {step.pod}{namespace}"
    return f"kubectl describe pods --selector pipeline/runid={run_id}{namespace}"


def duration(seconds: float) -> str:
    """`8 s`, `3:05 min` or `2:10 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes}:{int(seconds) % 60:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
