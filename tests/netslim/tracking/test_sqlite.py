"""The default without a server: one SQLite database with an absolute path."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netslim import tracking
from netslim.errors import NetslimError, TrackingError
from netslim.results.ending import FINISHED
from netslim.results.run_results import RunResults
from netslim.tracking.client import connect, ensure_experiment

EXPERIMENT = "netslim/pixels"
RecordTo = Callable[[str, str], None]

FIRST = """
import sys
from netslim.tracking.client import connect
from netslim.tracking.destination import Destination
from netslim.tracking.runs import RunGroup
import mlflow
sys.stdin.readline()
with connect(sys.argv[1]) as client:
    destination = Destination(sys.argv[1], "netslim/race", "race")
    print(RunGroup.open(client, destination).child("pass-01").info.run_id)
"""


@pytest.mark.slow
def test_processes_that_open_a_new_database_together_share_it(tmp_path: Path) -> None:
    """Without a lock five of six die, and some of the databases can never be used again."""
    uri = tracking.default_uri(tmp_path)
    racers = [
        subprocess.Popen([sys.executable, "-c", FIRST, uri], stdin=-1, stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=120) for racer in racers]
    assert {error for _, error in answers} == {""}
    assert len({answer for answer, _ in answers}) == 1
    assert answers[0][0].strip()


def test_a_run_is_recorded_beside_the_database_and_read_back(
    tmp_path: Path, record_to: RecordTo, results: RunResults, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    uri = tracking.default_uri("runs")
    assert uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.chdir(tmp_path / "elsewhere")
    record_to(uri, "local")
    assert tracking.log_pass(results, experiment=EXPERIMENT, bundle=model.parent)
    tracking.close_run(experiment=EXPERIMENT, ending=FINISHED, files={"report.html": b"<p>"})
    assert not list((tmp_path / "elsewhere").iterdir())  # MLflow's own default would have put artifacts here
    artifacts = list((tmp_path / "runs" / "mlartifacts" / "netslim-pixels").rglob("*"))
    assert {"report.html", "pass.json", "model.onnx", "MLmodel"} <= {file.name for file in artifacts}
    run = tracking.read_run(uri, EXPERIMENT)
    assert (run.key, run.status, run.results) == ("local", "FINISHED", results)
    command, address = run.view.splitlines()
    program, _, rest = command.partition(" ")
    assert rest == f"ui --backend-store-uri {uri}"
    assert shutil.which(program), "the command can be called as it is printed"
    assert address.startswith(f"http://127.0.0.1:5000/#/experiments/1/runs/{run.run_id}/")


RECORD = """
import sys
from pathlib import Path
from netslim import tracking
from netslim.results.ending import FINISHED
from netslim.results.run_results import RunResults
tracking.log_pass(RunResults.load(sys.argv[1]), experiment="netslim/pixels", bundle=Path(sys.argv[2]))
tracking.close_run(experiment="netslim/pixels", ending=FINISHED, files={"a": b"b"})
"""


@pytest.mark.slow
def test_recording_prints_nothing(tmp_path: Path, results: RunResults, model: Path) -> None:
    results.save(tmp_path / "results.json")
    done = subprocess.run(
        [sys.executable, "-c", RECORD, str(tmp_path / "results.json"), str(model.parent)],
        env={
            "MLFLOW_TRACKING_URI": tracking.default_uri(tmp_path),
            "NETSLIM_RUN_KEY": "quiet",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_reading_makes_no_database(tmp_path: Path) -> None:
    uri = tracking.default_uri(tmp_path / "none")
    with pytest.raises(TrackingError, match=r"none/mlflow\.db: nothing has been recorded here\. Run"):
        tracking.read_run(uri, EXPERIMENT)
    assert not (tmp_path / "none").exists()


def test_a_run_or_experiment_that_does_not_exist_is_named(
    tmp_path: Path, record_to: RecordTo, results: RunResults, database: str
) -> None:
    record_to(database, "there")
    assert tracking.log_pass(results, experiment=EXPERIMENT)
    with pytest.raises(TrackingError, match="run = absent: no run has this key"):
        tracking.read_run(database, EXPERIMENT, "absent")
    with pytest.raises(TrackingError, match="experiment = netslim/other: no run has been recorded"):
        tracking.read_run(database, "netslim/other")
    with pytest.raises(TrackingError, match="no run has this key"):
        tracking.download(database, EXPERIMENT, "absent", tmp_path / "out")


def test_a_deleted_experiment_is_explained(database: str) -> None:
    with connect(database) as client:
        client.delete_experiment(ensure_experiment(client, database, EXPERIMENT))
        with pytest.raises(TrackingError, match=r"netslim/pixels: was deleted in MLflow\. Restore it"):
            ensure_experiment(client, database, EXPERIMENT)


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, in spite of its name" * 100)
    with pytest.raises(TrackingError, match=r"the file is not a database\. Move it away"):
        tracking.check_tracking_server(tracking.default_uri(tmp_path))


@pytest.mark.slow
def test_the_check_makes_the_database_and_removes_its_probe(tmp_path: Path) -> None:
    tracking.check_tracking_server(tracking.default_uri(tmp_path / "new"))
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (0,)
    assert not [file for file in (tmp_path / "new" / "mlartifacts").rglob("*") if file.is_file()]


def test_the_check_writes_an_artifact(tmp_path: Path, database: str) -> None:
    (tmp_path / "mlartifacts").write_text("in the way")
    with pytest.raises(TrackingError, match=r"no artifacts in file://.*/mlartifacts.*Make that a folder"):
        tracking.check_tracking_server(database)


def test_the_check_names_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NetslimError, match=r"/file/mlflow\.db"):
        tracking.check_tracking_server(tracking.default_uri(tmp_path / "file"))
