"""How a run ends in MLflow: by the status from KFP and by the decisions of the evaluations."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp import dsl

from netslim import tracking
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.results.stopping_rule import should_continue
from netslim_kfp.components.finish.component import finish
from tests.helpers.mlflow_server import MlflowServer

RecordTo = Callable[[str, str], None]


def evaluate_each(
    rows: Sequence[PassResult], model: Path, *, passes: int, max_error_increase: float, experiment: str
) -> None:
    """Record the passes as the step `evaluate` does: the result, the decision after it, and the model.

    The results lack the data of the report's plots: drawing them is slow.
    """
    results = RunResults(constants={"architecture": "vgg", "max_error_increase": f"{max_error_increase:g}"})
    for row in rows:
        plain = dataclasses.replace(row, reason="", continue_=None, curves={}, layers=(), gammas=None)
        undecided = results.with_row(plain)
        results = undecided.with_decision(
            should_continue(undecided, passes=passes, max_error_increase=max_error_increase)
        )
        assert tracking.log_pass(results, experiment=experiment, bundle=model.parent)


def end(state: str, report: Path, experiment: str) -> None:
    """The component, with the status that a backend fills in for a pipeline whose group is exit-handler-1."""
    status = dsl.PipelineTaskFinalStatus(
        state=state,
        pipeline_job_resource_name="network-slimming-4fhwm",
        pipeline_task_name="exit-handler-1",
        error_code=None,
        error_message=None,
    )
    finish.python_func(report=SimpleNamespace(path=str(report)), status=status, experiment=experiment)
    assert report.read_text(encoding="utf-8").endswith("</html>")


def registered(server: MlflowServer, experiment: str) -> list[str]:
    """The versions of the experiment's model in the registry."""
    name = f"netslim-vgg-{experiment.rpartition('/')[2]}"
    wanted = urllib.parse.quote(f"name='{name}'")
    found = server.call(f"model-versions/search?filter={wanted}").get("model_versions", [])
    return [version["version"] for version in found]


@pytest.mark.parametrize(
    ("case", "state", "evaluated", "passes", "max_error_increase", "finished"),
    [
        ("all-passes", "COMPLETE", 2, 1, 1.0, True),
        ("all-passes-locally", "SUCCEEDED", 2, 1, 1.0, True),
        ("too-much-error", "RUNNING", 2, 3, 0.1, True),  # the next pass's condition was not met
        ("a-step-failed", "FAILED", 2, 2, 1.0, False),
        ("a-step-failed-after-the-end", "FAILED", 2, 1, 1.0, False),
        ("killed", "RUNNING", 2, 2, 1.0, False),  # or timed out, or canceled
        ("killed-in-the-first-pass", "RUNNING", 1, 2, 1.0, False),
        ("killed-yet-complete", "COMPLETE", 2, 2, 1.0, False),
        ("killed-before-any-evaluation", "RUNNING", 0, 2, 1.0, False),
    ],
)
def test_only_a_run_that_decided_to_stop_is_finished_and_registered(
    server: MlflowServer,
    record_to: RecordTo,
    results: RunResults,
    model: Path,
    tmp_path: Path,
    case: str,
    state: str,
    evaluated: int,
    passes: int,
    max_error_increase: float,
    finished: bool,
) -> None:
    experiment = f"netslim/{case}"
    record_to(server.uri, case)
    rows = results.rows[:evaluated]
    evaluate_each(rows, model, passes=passes, max_error_increase=max_error_increase, experiment=experiment)
    end(state, tmp_path / "report.html", experiment)
    parent = server.runs(experiment, case)[case]
    assert parent["info"]["status"] == ("FINISHED" if finished else "FAILED")
    assert registered(server, experiment) == (["1"] if finished else [])


@pytest.mark.parametrize(("state", "status"), [("COMPLETE", "FINISHED"), ("FAILED", "FAILED")])
def test_a_sweep_is_finished_unless_a_step_failed_and_registers_nothing(
    server: MlflowServer,
    record_to: RecordTo,
    results: RunResults,
    model: Path,
    tmp_path: Path,
    state: str,
    status: str,
) -> None:
    experiment, key = f"netslim/sweep-{state}", f"sweep-{state}"
    record_to(server.uri, key)
    for at, value in enumerate(("0.5", "0.7")):
        point = dataclasses.replace(results.rows[1], label=f"percent {value}", measured_at=at)
        evaluate_each([point], model, passes=1, max_error_increase=1.0, experiment=experiment)
    end(state, tmp_path / "report.html", experiment)
    runs = server.runs(experiment, key)
    assert set(runs) == {key, "percent-0.5", "percent-0.7"}
    assert runs[key]["info"]["status"] == status
    assert registered(server, experiment) == []


def test_without_a_tracking_server_there_is_a_report_and_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end("COMPLETE", tmp_path / "report.html", "netslim/nowhere")
    assert "not recorded in MLflow" in capsys.readouterr().err
