"""What is recorded of a run on a real MLflow server, read through its REST API."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netslim import tracking
from netslim.results.ending import FINISHED, Ending, Status
from netslim.results.measures import Latency
from netslim.results.run_results import RunResults
from tests.helpers.mlflow_server import MlflowServer
from tests.helpers.results import changed

EXPERIMENT = "netslim/pixels"
RecordTo = Callable[[str, str], None]


def record_each_pass(results: RunResults, model: Path) -> None:
    """As the pipeline does: after each pass, with the results so far."""
    for count in range(1, len(results.rows) + 1):
        assert tracking.log_pass(
            RunResults(results.rows[:count], results.constants), experiment=EXPERIMENT, bundle=model.parent
        )


def test_params_metrics_and_curves(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path
) -> None:
    record_to(server.uri, "compare")
    record_each_pass(results, model)
    runs = server.runs(EXPERIMENT, "compare")
    assert set(runs) == {"compare", "pass-00", "pass-01", "pass-02"}
    parent = runs.pop("compare")
    assert {p["key"]: p["value"] for p in parent["data"]["params"]} == results.constants
    over_passes = {
        "model/params": [900, 300, 100],
        "model/flops": [18000, 6000, 2000],
        "model/channels": [90, 30, 10],
        "eval/error": [1.0, 1.25, 1.5],
        "ratio/params": [1, 3, 9],
        "ratio/flops": [1, 3, 9],
        "eval/error_added": [0, 0.25, 0.5],
        "latency/b1_ms": [0.5, 0.5, 0.5],
    }
    for metric, values in over_passes.items():
        expected = [(step, value, 10_000 * step + 9000) for step, value in enumerate(values)]
        assert server.history(parent, metric) == expected, metric
    assert [step for step, _, _ in server.history(parent, "eval/error_pruned")] == [1, 2]
    for name, run in runs.items():
        tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        assert tags["mlflow.parentRunId"] == parent["info"]["run_id"]
        assert tags["netslim.key"] == f"compare/{name}"
        assert run["info"]["status"] == "FINISHED"
        assert "params" not in run["data"]
    for stage, epochs, start in (("sparse", 3, 10_000), ("fine_tune", 4, 15_000)):
        expected = [(e, 1 / e, start + 100 * e) for e in range(1, epochs + 1)]
        assert server.history(runs["pass-01"], f"{stage}/loss") == expected
    assert [step for step, _, _ in server.history(runs["pass-01"], "sparse/zero_share")] == [1, 2, 3]
    assert [step for step, _, _ in server.history(runs["pass-00"], "base/lr")] == [1, 2, 3, 4, 5]
    assert parent["info"]["status"] == "RUNNING"


def test_the_models_are_the_bundles(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path, tmp_path: Path
) -> None:
    record_to(server.uri, "models")
    record_each_pass(results, model)
    wanted = {
        "experiment_ids": [server.experiment(EXPERIMENT)],
        "filter": "tags.`netslim.key` LIKE 'models/%'",
    }
    found = server.call("logged-models/search", wanted)["models"]
    assert sorted(one["info"]["name"] for one in found) == ["pass-00", "pass-01", "pass-02"]
    assert {one["info"]["status"] for one in found} == {"LOGGED_MODEL_READY"}
    errors = {
        one["info"]["name"]: metric["value"]
        for one in found
        for metric in one["data"]["metrics"]
        if metric["key"] == "eval/error"
    }
    assert errors == {"pass-00": 1.0, "pass-01": 1.25, "pass-02": 1.5}
    parent = server.runs(EXPERIMENT, "models")["models"]
    linked = [output["model_id"] for output in parent["outputs"]["model_outputs"]]
    assert sorted(linked) == sorted(one["info"]["model_id"] for one in found)
    files = tracking.download(server.uri, EXPERIMENT, "models", tmp_path)
    assert set(files) == {"pass-00", "pass-01", "pass-02"}
    assert {(folder / "model.onnx").read_bytes() for folder in files.values()} == {model.read_bytes()}

    import mlflow

    mlflow.set_tracking_uri(server.uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{found[0]['info']['model_id']}")
    images = np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2)
    np.testing.assert_array_equal(loaded.predict(images)["logits"], images.reshape(3, 4))


def test_a_retry_adds_no_run_and_no_point(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path
) -> None:
    record_to(server.uri, "retry")
    record_each_pass(results, model)

    def all_there_is() -> Any:
        runs = server.runs(EXPERIMENT, "retry")
        metrics = {(name, m["key"]) for name, run in runs.items() for m in run["data"]["metrics"]}
        return {(name, key): server.history(runs[name], key) for name, key in metrics}

    before = all_there_is()
    record_each_pass(results, model)
    assert all_there_is() == before
    # Retried for real: measured again at another time, after a training that was resumed at its second epoch.
    again = dataclasses.replace(
        results.rows[-1],
        measured_at=99_000,
        latency={1: Latency(median_ms=0.625)},
        curves={
            stage: tuple({**point, "ts": point["ts"] + (point["step"] > 1) * 777} for point in points)
            for stage, points in results.rows[-1].curves.items()
        },
    )
    record_each_pass(RunResults((*results.rows[:-1], again), results.constants), model)
    assert all_there_is() == before
    models = {
        "experiment_ids": [server.experiment(EXPERIMENT)],
        "filter": "tags.`netslim.key` LIKE 'retry/%'",
    }
    assert len(server.call("logged-models/search", models)["models"]) == 3


def test_a_pass_that_was_missed_is_recorded_with_the_next(
    server: MlflowServer,
    record_to: RecordTo,
    results: RunResults,
    model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record_to("http://127.0.0.1:9", "missed")
    assert not tracking.log_pass(
        RunResults(results.rows[:2], results.constants), experiment=EXPERIMENT, patience=0
    )
    told = capsys.readouterr().err
    assert told.startswith(
        "netslim: this pass is not in MLflow yet: MLFLOW_TRACKING_URI = http://127.0.0.1:9: "
    )
    assert "cannot be reached (connection refused)" in told
    record_to(server.uri, "missed")
    assert tracking.log_pass(results, experiment=EXPERIMENT, bundle=model.parent)
    found = tracking.read_run(server.uri, EXPERIMENT, "missed")
    assert found.results == results


def test_without_a_server_or_a_key_a_line_is_printed(
    results: RunResults, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not tracking.log_pass(results, experiment=EXPERIMENT)
    tracking.close_run(experiment=EXPERIMENT, ending=FINISHED, files={})
    assert tracking.run_state(experiment=EXPERIMENT) is None
    assert capsys.readouterr().err.count("not recorded in MLflow; set MLFLOW_TRACKING_URI") == 2


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_closing(
    server: MlflowServer, record_to: RecordTo, results: RunResults, status: Status, tmp_path: Path
) -> None:
    key = f"closing-{status}"
    record_to(server.uri, key)
    state = tracking.run_state(experiment=EXPERIMENT)
    assert state
    assert (state.status, state.results) == ("", RunResults())
    assert tracking.log_pass(results, experiment=EXPERIMENT)
    state = tracking.run_state(experiment=EXPERIMENT)
    assert state
    assert (state.status, state.results) == ("RUNNING", results)
    tracking.close_run(
        experiment=EXPERIMENT,
        ending=Ending(status=status),
        files={"report.html": b"<p>", "plots/error.png": b"\x89PNG"},
    )
    runs = server.runs(EXPERIMENT, key)
    assert runs.pop(key)["info"]["status"] == status
    assert {run["info"]["status"] for run in runs.values()} == {"FINISHED"}
    parent = server.runs(EXPERIMENT, key)[key]["info"]["run_id"]
    assert [f["path"] for f in server.call(f"artifacts/list?run_id={parent}")["files"]] == [
        "plots",
        "report.html",
    ]
    assert tracking.download(server.uri, EXPERIMENT, key, tmp_path)["report"].read_bytes() == b"<p>"
    assert tracking.log_pass(results, experiment=EXPERIMENT)  # run again: what was closed is open
    assert server.runs(EXPERIMENT, key)[key]["info"]["status"] == "RUNNING"


def test_a_run_that_failed_before_its_first_pass_is_closed_too(
    server: MlflowServer, record_to: RecordTo
) -> None:
    record_to(server.uri, "stillborn")
    tracking.close_run(experiment=EXPERIMENT, ending=Ending(status="FAILED"), files={})
    assert server.runs(EXPERIMENT, "stillborn")["stillborn"]["info"]["status"] == "FAILED"
    assert tracking.read_run(server.uri, EXPERIMENT, "stillborn").results == RunResults()


def test_the_points_of_a_sweep_are_children_of_their_own(
    server: MlflowServer, record_to: RecordTo, results: RunResults
) -> None:
    record_to(server.uri, "sweep")
    points = [
        changed(results.rows[1], label=f"lambda {value}", test=error, measured_at=at)
        for value, error, at in (("0.001", 3.0, 20), ("1e-05", 2.0, 10))
    ]
    for point in points:
        assert tracking.log_pass(RunResults((point,), {"sweep": "lambda"}), experiment=EXPERIMENT)
    runs = server.runs(EXPERIMENT, "sweep")
    assert set(runs) == {"sweep", "lambda-0.001", "lambda-1e-05"}
    assert "metrics" not in runs["sweep"]["data"]  # it has no passes to draw
    assert server.history(runs["lambda-0.001"], "eval/error") == [(1, 3.0, 20)]
    read = tracking.read_run(server.uri, EXPERIMENT, "sweep")
    assert [row.label for row in read.results.rows] == ["lambda 1e-05", "lambda 0.001"]


def test_the_newest_run_and_one_by_its_key_are_read(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path
) -> None:
    for key in ("earlier", "later"):
        record_to(server.uri, key)
        assert tracking.log_pass(results, experiment="netslim/read", bundle=model.parent)
    last = tracking.read_run(server.uri, "netslim/read")
    assert (last.key, last.status, last.results) == ("later", "RUNNING", results)
    assert tracking.read_run(server.uri, "netslim/elsewhere", "earlier").key == "earlier"
    assert last.view.startswith(f"{server.uri}/#/experiments/{last.experiment_id}/runs/{last.run_id}")


def test_runs_below_kfps_own_leave_those_alone(
    server: MlflowServer,
    record_to: RecordTo,
    results: RunResults,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """KFP 2.17's plugin injects the run of the task; above it are a loop's and the pipeline's."""
    experiment = server.call("experiments/create", {"name": "kfp"})["experiment_id"]
    above: str | None = None
    kfp = []
    for name in ("pipeline", "loop", "task"):
        tags = [{"key": "mlflow.parentRunId", "value": above}] if above else []
        made = server.call("runs/create", {"experiment_id": experiment, "run_name": name, "tags": tags})
        above = made["run"]["info"]["run_id"]
        kfp.append(above)
    before = [server.call(f"runs/get?run_id={run}") for run in kfp]
    record_to(server.uri, "below-kfp")
    monkeypatch.setenv("MLFLOW_RUN_ID", kfp[-1])
    record_each_pass(results, model)
    tracking.close_run(experiment=EXPERIMENT, ending=FINISHED, files={})
    assert [server.call(f"runs/get?run_id={run}") for run in kfp] == before
    runs = server.runs("kfp", "below-kfp")
    tags = {tag["key"]: tag["value"] for tag in runs["below-kfp"]["data"]["tags"]}
    assert tags["mlflow.parentRunId"] == kfp[0]
    assert runs["below-kfp"]["info"]["status"] == "FINISHED"
    monkeypatch.delenv("MLFLOW_RUN_ID")
    assert tracking.read_run(server.uri, EXPERIMENT, "below-kfp").results == results


MAKE = """
import sys
from netslim.tracking.client import connect
from netslim.tracking.destination import Destination
from netslim.tracking.runs import RunGroup
from tests.helpers.mlflow_server import MlflowServer
destination = Destination(sys.argv[1], "netslim/race", "race")
with connect(destination.uri) as client:
    sys.stdin.readline()  # all imports are done: start together
    print(RunGroup.open(client, destination).child("pass-01").info.run_id)
"""


@pytest.mark.slow
def test_steps_that_start_together_share_one_run(server: MlflowServer) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", MAKE, server.uri], stdin=-1, stdout=-1, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    chosen = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert len(chosen) == 1
    assert chosen == {server.runs("netslim/race", "race")["pass-01"]["info"]["run_id"]}
