"""How runs end, by the states that a real backend gave them, and what is reported on the way."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from netslim_kfp.components.argo.workflow import Step, steps_of
from netslim_kfp.pipelines.cluster.watch import Ending, Event, watch
from tests.helpers.kfp_samples import NAMES, at, moments, sample

ENDINGS = {
    "canceled": "canceled",
    "failed-then-retried": "succeeded",
    "killed-600-s-after-its-start": "failed",
    "out-of-memory": "failed",
    "succeeded-two-passes": "succeeded",
    "timed-out": "failed",
    "user-mistake": "failed",
}


class Recorded:
    """A reader of a run whose looks are given; the last one stays."""

    def __init__(self, states: list[str], looks: list[list[Step]], history: list[str] | None = None) -> None:
        self.states, self.looks, self.history = states, looks, history or states

    def run(self) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        history = [SimpleNamespace(state=each) for each in self.history]
        return SimpleNamespace(state=state, state_history=history, run_details=None)

    def steps(self) -> list[Step]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now.pop() + seconds))


def watched(reader: Recorded) -> tuple[Ending, list[tuple[str, str]]]:
    """How it ended, and the events about steps: what and which task."""
    events: list[Event] = []
    ending = watch(reader, on_event=events.append)  # type: ignore[arg-type]
    return ending, [(event.kind, event.step.task) for event in events if event.step]


@pytest.mark.parametrize("name", sorted(ENDINGS))
def test_a_run_ends_as_it_did(name: str) -> None:
    run = sample(name)["run"]
    history = [entry["state"] for entry in run["state_history"]]
    assert watched(Recorded([run["state"]], [[]], history))[0].state == ENDINGS[name]


def test_every_sample_of_a_run_that_ended_is_tested() -> None:
    assert set(NAMES) - set(ENDINGS) == {"unschedulable"}


def test_each_step_is_reported_once_when_it_starts_and_once_when_it_ends() -> None:
    workflow = sample("succeeded-two-passes")["workflow"]
    looks = [steps_of(at(workflow, moment)) for moment in moments(workflow)]
    states = ["RUNNING"] * (len(looks) - 1) + ["SUCCEEDED"]
    ending, events = watched(Recorded(states, looks))
    ran = [step.task for step in ending.steps if step.state == "succeeded"]
    cached = [step.task for step in ending.steps if step.state == "cached"]
    expected = [(kind, task) for task in ran for kind in ("started", "succeeded")]
    expected += [("cached", task) for task in cached]
    assert sorted(events) == sorted(expected)
    for task in ran:
        assert events.index(("started", task)) < events.index(("succeeded", task))


def test_a_step_that_was_stopped_by_a_cancel_has_not_failed() -> None:
    looks = [steps_of(sample("canceled")["workflow"])]
    _, events = watched(Recorded(["CANCELING", "FAILED"], looks, ["RUNNING", "CANCELING", "FAILED"]))
    assert ("canceled", "train-sparse") in events
    assert "failed" not in {kind for kind, _ in events}


def test_a_second_try_is_reported_as_such() -> None:
    def look(state: str, tries: int) -> list[Step]:
        return [Step("train", state, pod=f"pod-{tries}", tries=tries)]

    looks = [
        look("running", 1),
        look("running", 1),
        look("waiting", 1),
        look("running", 2),
        look("failed", 2),
    ]
    _, events = watched(Recorded(["RUNNING"] * 4 + ["FAILED"], looks))
    assert [kind for kind, _ in events] == ["started", "tried again", "failed"]


def test_a_changed_reason_is_reported_again_and_a_short_wait_never() -> None:
    waits = [[Step("train", "waiting", message=reason)] for reason in ["no GPU"] * 9 + ["no volume"] * 3]
    _, events = watched(Recorded(["RUNNING"] * 12 + ["FAILED"], [*waits, waits[-1]]))
    assert events == [("waiting", "train")] * 2
    _, events = watched(Recorded(["RUNNING"] * 5 + ["FAILED"], waits[:5]))
    assert events == []


def test_the_step_that_failed_first_is_the_one_to_name() -> None:
    steps = [
        Step("finish", "failed", finished=9.0),
        Step("b", "failed", finished=5.0),
        Step("a", "failed", finished=7.0),
    ]
    assert Ending("failed", steps).failed == steps[1]
    assert Ending("failed", steps[:1]).failed == steps[0]
    assert Ending("failed", []).failed is None
