"""Wait for the end of a run, and report each step as it starts, waits and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netslim_kfp.components.argo.workflow import ENDED, Step
from netslim_kfp.pipelines.cluster.kfp_client import UnavailableError
from netslim_kfp.pipelines.cluster.run_reader import RunReader

__all__ = ["Ending", "Event", "watch"]

PATIENCE = 600.0  # seconds without an answer; the server may be upgraded during a run of days
LONG = 60.0  # seconds without a running pod after which the reason is of interest
ENDED_RUN = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


@dataclass(frozen=True)
class Event:
    """Something that happened: to the run when `step` is None, else to the step.

    `kind` is the run's state in small letters; for a step `started`, `waiting`, `tried again`, or how it
    ended: its state, or `canceled`.
    """

    kind: str
    step: Step | None = None


@dataclass(frozen=True)
class Ending:
    """How a run ended: `state` is `succeeded`, `failed` or `canceled`; `steps` are all that it began."""

    state: str
    steps: list[Step]

    @property
    def failed(self) -> Step | None:
        """The step that failed first. `finish` runs after it, and is named only when it failed alone."""
        failed = [step for step in self.steps if step.state == "failed"]
        others = [step for step in failed if step.task != "finish"]
        return min(others or failed, key=lambda step: step.finished, default=None)


@dataclass
class _Seen:
    """What has been reported of the steps."""

    on_event: Callable[[Event], None]
    states: dict[Any, str] = field(default_factory=dict)
    tries: dict[Any, int] = field(default_factory=dict)
    waits_since: dict[Any, float] = field(default_factory=dict)
    reasons: dict[Any, str] = field(default_factory=dict)

    def update(self, steps: list[Step], now: float, *, canceled: bool) -> None:
        """Report what is new in `steps`; `now` is in seconds of any clock.

        In a run that is `canceled`, Argo's state of the steps that were stopped is Failed.
        """
        for step in steps:
            key = step.key
            if self.states.get(key) in ENDED:
                continue
            if step.state == "waiting":
                self._wait(step, now)
            else:
                self.waits_since.pop(key, None)
                self.reasons.pop(key, None)
            again = step.tries > self.tries.get(key, 0) > 0
            self.tries[key] = step.tries
            began = key in self.states
            if step.state == "running" and (again or not began):
                self._report("tried again" if again else "started", step)
            elif step.state in ENDED:
                if step.state != "cached" and not began:
                    self._report("started", step)
                self._report("canceled" if canceled and step.state == "failed" else step.state, step)

    def _report(self, kind: str, step: Step) -> None:
        self.states[step.key] = step.state
        self.on_event(Event(kind, step))

    def _wait(self, step: Step, now: float) -> None:
        """Report why a step has no running pod, after LONG, and again when the reason changes."""
        since = self.waits_since.setdefault(step.key, now)
        if now - since >= LONG and self.reasons.get(step.key) != step.message:
            self.reasons[step.key] = step.message
            self.on_event(Event("waiting", step))


def watch(
    reader: RunReader,
    *,
    every: float = 10.0,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Ending:
    """Wait until the run has ended, however it ends.

    The Workflow object is large, so it is read when the tasks' states have changed, and once in a minute.

    Args:
        every: seconds between two requests for the state.
        on_event: is called with each event, in order.

    Raises:
        PipelineError: the server refuses, or has not answered for ten minutes.
    """
    seen, steps, state, answered = _Seen(on_event), list[Step](), "", time.monotonic()
    before: Any = None
    read_at = -LONG
    while True:
        try:
            run = reader.run()
        except UnavailableError:
            if time.monotonic() - answered > PATIENCE:
                raise
            continue
        answered = time.monotonic()
        tasks = run.run_details and run.run_details.task_details
        states = sorted((str(task.display_name), str(task.state)) for task in tasks or ())
        over = run.state in ENDED_RUN
        if over or not states or states != before or answered - read_at >= LONG:
            steps, before, read_at = reader.steps() or steps, states, answered
        if run.state and run.state != state:
            state = run.state
            if not over:
                on_event(Event(state.lower()))
        seen.update(steps, answered, canceled=_canceled(run))
        if over:
            ending = Ending(_outcome(run), steps)
            on_event(Event(ending.state))
            return ending
        time.sleep(every)


def _outcome(run: Any) -> str:
    """The run's end in a word."""
    if run.state in ("SUCCEEDED", "SKIPPED"):
        return "succeeded"
    return "canceled" if _canceled(run) else "failed"


def _canceled(run: Any) -> bool:
    """Whether the run is or was canceled. KFP calls it FAILED then, after CANCELING."""
    states = [str(entry.state) for entry in run.state_history or ()]
    if "RUNNING" in states:  # KFP's Retry adds to the history, so only what follows the last RUNNING counts
        states = states[len(states) - states[::-1].index("RUNNING") :]
    return bool({run.state, *states} & {"CANCELED", "CANCELING"})
