"""How a run ends in MLflow: by its own results, or by the step `finish`; and after KFP's Retry.

KFP's Retry runs the failed step and the ones after it again, in the same KFP run, but never `finish`.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from kfp import dsl

from netslim import tracking
from netslim.cli.show import show
from netslim.errors import TrackingError
from netslim.results.ending import Ending
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from netslim_kfp.components import run_ending
from netslim_kfp.components.finish.component import finish
from tests.helpers.mlflow_server import MlflowServer

RecordTo = Callable[[str, str], None]
EXPERIMENT = "netslim/ending"
MODEL = "netslim-vgg-ending"


@pytest.fixture(autouse=True)
def _no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take most of the time of a report."""
    monkeypatch.setattr("netslim.report.figures.plots", lambda results: {"plots/drawn.png": b"\x89PNG"})
    monkeypatch.setattr("netslim.report.page.figures", lambda results: [])


class Run:
    """One run on a cluster: its steps, as far as they reach MLflow, and what MLflow then has of it."""

    def __init__(self, server: MlflowServer, model: Path, rows: Sequence[PassResult], key: str) -> None:
        self.server, self.model, self.key, self.experiment = server, model, key, EXPERIMENT
        self.rows = [
            dataclasses.replace(row, reason="", continue_=None, curves={}, layers=(), gammas=None)
            for row in rows
        ]
        self.results = RunResults(constants={"architecture": "vgg", "max_error_increase": "1"})
        self.best = 2  # the pass whose model is to be taken

    def evaluate(self, index: int, *, passes: int, name: str = "") -> tracking.Logged:
        """The step `evaluate` of a pass: the decision after it, the model, and the report so far."""
        undecided = dataclasses.replace(self.results, origin={"name": name} if name else {})
        undecided = undecided.with_row(self.rows[index])
        allowed = float(self.results.constants["max_error_increase"])
        decision = should_continue(undecided, passes=passes, max_error_increase=allowed)
        self.results = undecided.with_decision(decision)
        bundle = self.model.parent if index == self.best else None  # a model takes most of the time
        logged = tracking.log_pass(
            self.results, experiment=self.experiment, bundle=bundle, page=b"<p>so far</p>"
        )
        assert logged is not None
        return logged

    def finish(self, state: str, report: Path) -> str:
        """The step `finish`, with the status that a backend fills in. Returns the page that it wrote."""
        status = dsl.PipelineTaskFinalStatus(
            state=state,
            pipeline_job_resource_name="network-slimming-4fhwm",
            pipeline_task_name="exit-handler-1",
            error_code=None,
            error_message=None,
        )
        finish.python_func(
            report=SimpleNamespace(path=str(report)), status=status, experiment=self.experiment
        )
        return report.read_text(encoding="utf-8")

    @property
    def parent(self) -> Any:
        name = self.results.origin.get("name", self.key)
        return self.server.runs(self.experiment, self.key)[name]

    @property
    def status(self) -> str:
        return str(self.parent["info"]["status"])

    @property
    def reasons(self) -> dict[str, str]:
        """The tags that say why a run did not end by its results."""
        tags = {tag["key"]: tag["value"] for tag in self.parent["data"]["tags"]}
        names = {
            "netslim.failed_step": "step",
            "netslim.failure": "cause",
            "netslim.failure_message": "message",
        }
        return {short: tags[name] for name, short in names.items() if name in tags}

    @property
    def page(self) -> bytes:
        folder = Path(self.model.parent.parent, f"download-{self.key}")
        return tracking.download(self.server.uri, self.experiment, self.key, folder)["report"].read_bytes()

    @property
    def registered(self) -> list[str]:
        """The versions that this run has in the registry."""
        wanted = urllib.parse.quote(f"name='{MODEL}' and tags.`netslim.key`='{self.key}'")
        found = self.server.call(f"model-versions/search?filter={wanted}").get("model_versions", [])
        return [version["version"] for version in found]


@pytest.fixture
def start(
    server: MlflowServer, results: RunResults, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Run]:
    """Start a run on a cluster: its key is KFP's id."""

    def make(key: str) -> Run:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        monkeypatch.setenv("KFP_RUN_ID", key)
        return Run(server, model, results.rows, key)

    monkeypatch.setattr(run_ending, "failure_of_run", lambda run_id: None)
    return make


FAILURES = {
    "own-error": (
        "FAILED",
        Ending(status="FAILED", step="fine-tune", cause="exit code 5", message="diverged"),
    ),
    "out-of-memory": (
        "FAILED",
        Ending(status="FAILED", step="train", cause="out of memory", message="OOMKilled"),
    ),
    "time-out": ("RUNNING", Ending(status="FAILED", step="train", cause="time-out")),
    "canceled": ("RUNNING", Ending(status="KILLED", cause="canceled")),
    "deleted-pod": ("RUNNING", Ending(status="FAILED", step="prune", cause="pod deleted")),
    "killed": ("RUNNING", None),  # KFP's API has no reason, or cannot be reached
    "killed-yet-complete": ("COMPLETE", None),
    "failed-unknown": ("FAILED", None),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_run_that_did_not_end_by_itself_has_the_reason_and_is_finished_by_a_retry(
    case: str, start: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, found = FAILURES[case]
    run = start(case)
    monkeypatch.setattr(run_ending, "failure_of_run", lambda run_id: found)
    run.best = 1
    run.evaluate(0, passes=1)
    page = run.finish(state, tmp_path / "report.html")
    expected = found or Ending(status="FAILED" if state == "FAILED" else "KILLED")
    assert run.status == expected.status
    known = {"step": expected.step, "cause": expected.cause, "message": expected.message}
    assert run.reasons == {name: text for name, text in known.items() if text}
    assert expected.sentence.split("`")[0] in page
    assert run.page.decode() == page
    assert run.registered == []

    logged = run.evaluate(1, passes=1)  # Retry
    assert logged.ended
    assert run.status == "FINISHED"
    assert run.reasons == {}
    assert run.page == b"<p>so far</p>"  # the page of the last evaluation
    assert [logged.registered] == [f"models:/{MODEL}/{version}" for version in run.registered]


def test_a_retry_that_fails_again_leaves_the_status(start: Callable[[str], Run], tmp_path: Path) -> None:
    """Nothing would change it any more: the step that was retried is not followed by `finish`."""
    run = start("fails-again")
    run.evaluate(0, passes=3)
    run.finish("FAILED", tmp_path / "report.html")
    assert not run.evaluate(1, passes=3).ended
    assert run.status == "FAILED"


@pytest.mark.parametrize(
    ("case", "passes", "allowed", "last", "state"),
    [
        ("all-passes", 2, "1", 2, "COMPLETE"),
        ("all-passes-locally", 2, "1", 2, "SUCCEEDED"),
        ("early-stop", 6, "0.1", 1, "RUNNING"),  # the next pass's condition was not met
    ],
)
def test_the_last_evaluation_ends_the_run_and_finish_changes_nothing(
    case: str, passes: int, allowed: str, last: int, state: str, start: Callable[[str], Run], tmp_path: Path
) -> None:
    run = start(case)
    run.results = RunResults(constants={**run.results.constants, "max_error_increase": allowed})
    run.best = last if case != "early-stop" else 0
    ended = [run.evaluate(index, passes=passes, name=f"my-{case}").ended for index in range(last + 1)]
    assert ended == [False] * last + [True]
    before = run.parent
    assert before["info"]["status"] == "FINISHED"
    assert len(run.registered) == 1
    tags = {tag["key"]: tag["value"] for tag in before["data"]["tags"]}
    assert tags["kfp.pipeline_run_id"] == case
    assert tags["netslim.best"] == f"pass-0{run.best}"
    assert f"Take {'pass 2' if run.best else 'the baseline'}: " in tags["mlflow.note.content"]
    metrics = {metric["key"]: metric["value"] for metric in before["data"]["metrics"]}
    best = run.rows[run.best]
    assert (metrics["result/error"], metrics["result/flops"]) == (best.errors.test, best.size.flops)
    assert run.finish(state, tmp_path / "report.html") == "<p>so far</p>"
    assert run.parent == before


def test_a_failure_after_the_end_leaves_the_run_finished(start: Callable[[str], Run], tmp_path: Path) -> None:
    """Such as a pod whose outputs could not be stored: its results are in MLflow."""
    run = start("after-the-end")
    run.best = 1
    for index in range(2):
        run.evaluate(index, passes=1)
    run.finish("FAILED", tmp_path / "report.html")
    assert run.status == "FINISHED"
    assert len(run.registered) == 1


def test_a_run_that_failed_before_any_evaluation_is_closed(
    start: Callable[[str], Run], tmp_path: Path
) -> None:
    run = start("stillborn")
    assert "No pass was finished" in run.finish("FAILED", tmp_path / "report.html")
    assert run.status == "FAILED"


def test_two_runs_at_once_end_apart(start: Callable[[str], Run], tmp_path: Path) -> None:
    runs = {key: start(key) for key in ("at-once-1", "at-once-2")}
    for run in runs.values():
        run.best = 1
    for index in range(2):
        for key in runs:
            start(key)
            assert runs[key].evaluate(index, passes=1).ended == (index == 1)
    assert [run.status for run in runs.values()] == ["FINISHED", "FINISHED"]
    assert [len(run.registered) for run in runs.values()] == [1, 1]
    start("at-once-3").finish("FAILED", tmp_path / "report.html")
    assert runs["at-once-1"].status == "FINISHED"


def test_a_run_that_is_submitted_again_with_its_key_is_open_until_its_end(
    start: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("first-try")
    run.evaluate(0, passes=1)
    run.finish("FAILED", tmp_path / "report.html")
    assert run.status == "FAILED"
    monkeypatch.setenv("NETSLIM_RUN_KEY", "first-try")
    monkeypatch.setenv("KFP_RUN_ID", "second-try")
    run.evaluate(0, passes=1)  # `finish` will be run again
    assert run.status == "RUNNING"
    run.evaluate(1, passes=1)
    assert run.status == "FINISHED"


def test_a_run_is_found_by_the_id_of_each_of_its_runs_in_kfp(
    start: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was submitted again keeps its key, and people have the id of the newest."""
    run = start("try-1")
    run.evaluate(0, passes=2)
    run.finish("FAILED", tmp_path / "report.html")
    monkeypatch.setenv("NETSLIM_RUN_KEY", "try-1")
    monkeypatch.setenv("KFP_RUN_ID", "try-2")
    run.finish("FAILED", tmp_path / "report.html")  # it failed before a pass was recorded
    monkeypatch.setenv("KFP_RUN_ID", "try-3")
    run.evaluate(1, passes=2)
    for variable in ("NETSLIM_RUN_KEY", "KFP_RUN_ID"):
        monkeypatch.delenv(variable)
    for name in ("try-1", "try-2", "try-3"):
        for experiment in (EXPERIMENT, ""):
            found = tracking.read_run(run.server.uri, experiment, name)
            assert (found.key, len(found.results.rows)) == ("try-1", 2)
    shown = CliRunner().invoke(show, ["try-3", "--tracking-uri", run.server.uri])
    assert shown.output.startswith("Run try-1 in netslim/ending")
    for name in ("try", "ry-2", "try-2 try-3", "try-4"):
        with pytest.raises(TrackingError):
            tracking.read_run(run.server.uri, EXPERIMENT, name)


@pytest.mark.parametrize(
    ("case", "points", "state", "statuses"),
    [
        ("sweep", 2, "COMPLETE", ["RUNNING", "FINISHED", "FINISHED"]),
        ("sweep-of-unknown-length", 0, "COMPLETE", ["FINISHED", "FINISHED", "FINISHED"]),
        ("sweep-failed", 3, "FAILED", ["RUNNING", "RUNNING", "FAILED"]),
        ("sweep-canceled", 3, "RUNNING", ["RUNNING", "RUNNING", "KILLED"]),
    ],
)
def test_a_sweep_is_finished_when_all_its_points_are_there(
    case: str, points: int, state: str, statuses: list[str], start: Callable[[str], Run], tmp_path: Path
) -> None:
    run = start(case)
    seen = []
    for at, value in enumerate(("0.5", "0.7")):
        constants = {"architecture": "vgg", "sweep": "percent", "percent": value}
        run.results = RunResults(constants=constants | ({"points": str(points)} if points else {}))
        point = dataclasses.replace(run.rows[1], label=f"percent {value}", measured_at=at)
        results = run.results.with_row(point)
        results = results.with_decision(should_continue(results, passes=1, max_error_increase=1.0))
        assert tracking.log_pass(results, experiment=EXPERIMENT)
        seen.append(run.status)
    run.finish(state, tmp_path / "report.html")
    assert [*seen, run.status] == statuses
    runs = run.server.runs(EXPERIMENT, case)
    assert set(runs) == {case, "percent-0.5", "percent-0.7"}
    assert {p["key"]: p["value"] for p in runs["percent-0.7"]["data"]["params"]} == {"percent": "0.7"}
    assert "percent" not in {p["key"] for p in runs[case]["data"]["params"]}
    assert run.registered == []


@pytest.mark.parametrize("state", ["COMPLETE", "FAILED"])
def test_without_a_tracking_server_there_is_a_report_and_no_error(
    state: str,
    start: Callable[[str], Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = start("nowhere")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    page = run.finish(state, tmp_path / "report.html")
    assert page.endswith("</html>")
    assert ("The run failed" in page) == (state == "FAILED")
    assert "not recorded in MLflow" in capsys.readouterr().err
