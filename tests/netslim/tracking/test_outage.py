"""A tracking server that is away when a pass is logged: nothing fails, nothing is lost."""

from __future__ import annotations

import dataclasses
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner

from netslim import tracking
from netslim.cli.sync import sync
from netslim.errors import DataError, TrackingError
from netslim.results.ending import Ending
from netslim.results.run_results import RunResults
from netslim.steps.finish import finish_step
from netslim.tracking import api
from tests.helpers.mlflow_server import MlflowServer

RecordTo = Callable[[str, str], None]
EXPERIMENT = "netslim/outage"
DEAD = "http://user:secret@127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_drawing_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netslim.steps.finish.PATIENCE", 0.0)
    monkeypatch.setattr("netslim.report.figures.plots", lambda results: {})
    monkeypatch.setattr("netslim.report.page.figures", lambda results: [])


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tracking.journal_of(tmp_path)
    monkeypatch.setenv(tracking.JOURNAL, str(folder))
    return folder


@pytest.fixture
def passes(results: RunResults) -> Callable[[str], list[RunResults]]:
    """The results after each pass of a run with a key; the last one ends the run."""

    def make(key: str) -> list[RunResults]:
        origin = {"experiment": EXPERIMENT, "key": key, "name": f"the run {key}"}
        constants = {**results.constants, "max_error_increase": "1"}
        rows = [dataclasses.replace(row, continue_=row.index < 2) for row in results.rows]
        return [RunResults(tuple(rows[:count]), constants, origin) for count in (1, 2, 3)]

    return make


def log(results: RunResults, model: Path) -> tracking.Logged | None:
    return tracking.log_pass(results, experiment=EXPERIMENT, bundle=model.parent, page=b"<p>", patience=0)


def test_a_run_of_which_nothing_was_logged_is_logged_later(
    server: MlflowServer,
    record_to: RecordTo,
    passes: Callable[[str], list[RunResults]],
    model: Path,
    journal: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record_to(DEAD, "lost")
    each = passes("lost")
    assert [log(results, model) for results in each] == [None, None, None]
    told = capsys.readouterr().err
    assert told.count("this pass is not in MLflow yet") == 3
    assert f"kept in {journal / 'lost'} and logged by the next run or by `netslim sync`" in told
    finish_step(tmp_path / "report.html", ending=lambda: Ending(status="KILLED"), experiment=EXPERIMENT)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "stopped" not in page
    assert "pass 2" in page

    kept = tracking.kept_results(journal, "lost")
    assert kept
    assert kept[0] == each[-1]
    assert sorted(kept[1]) == ["pass-00", "pass-01", "pass-02"]
    assert tracking.pending(journal) == 1
    assert not any("secret" in file.read_text() for file in journal.rglob("*.json"))
    assert tracking.sync(journal, only_for=server.uri) == []  # meant for another server

    done = CliRunner().invoke(sync, ["--output", str(tmp_path), "--tracking-uri", server.uri])
    assert done.exit_code == 0, done.output
    assert "lost: baseline, pass 1, pass 2, in " in done.output
    assert tracking.pending(journal) == 0
    found = tracking.read_run(server.uri, EXPERIMENT, "lost")
    assert (found.name, found.status, found.results.rows) == ("the run lost", "FINISHED", each[-1].rows)
    assert found.registered == "models:/netslim-vgg-outage/1"
    bundles = tracking.download(server.uri, EXPERIMENT, "lost", tmp_path / "download")
    assert (bundles["pass-01"] / "model.onnx").read_bytes() == model.read_bytes()
    again = CliRunner().invoke(sync, ["--output", str(tmp_path), "--tracking-uri", server.uri])
    assert again.output == "Nothing waits to be logged.\n"


def test_an_outage_in_the_middle_and_a_failure(
    server: MlflowServer,
    record_to: RecordTo,
    passes: Callable[[str], list[RunResults]],
    model: Path,
    journal: Path,
    tmp_path: Path,
) -> None:
    first, second, _ = passes("middle")
    record_to(server.uri, "middle")
    assert log(first, model)
    record_to(DEAD, "middle")
    assert log(second, model) is None
    failure = Ending(status="FAILED", step="pass 2: prune", cause="out of memory")
    finish_step(tmp_path / "report.html", ending=lambda: failure, experiment=EXPERIMENT)
    assert "out of memory" in (tmp_path / "report.html").read_text(encoding="utf-8")

    record_to(server.uri, "another")  # the next run
    assert [run.passes for run in tracking.sync(journal, uri=server.uri)] == [("pass 1",)]
    run = tracking.read_run(server.uri, EXPERIMENT, "middle")
    assert (run.status, run.results.rows) == ("FAILED", second.rows)
    tags = {
        tag["key"]: tag["value"]
        for tag in server.runs(EXPERIMENT, "middle")["the run middle"]["data"]["tags"]
    }
    assert tags["netslim.failed_step"] == "pass 2: prune"
    assert not list(journal.iterdir())


def test_a_sync_that_fails_keeps_everything(
    record_to: RecordTo, passes: Callable[[str], list[RunResults]], model: Path, journal: Path
) -> None:
    record_to(DEAD, "still-away")
    log(passes("still-away")[0], model)
    with pytest.raises(TrackingError, match="connection refused"):
        tracking.sync(journal)
    assert tracking.pending(journal) == 1


def test_a_server_that_never_answers_costs_one_small_request(
    record_to: RecordTo,
    passes: Callable[[str], list[RunResults]],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "PROBE", 1)
    monkeypatch.setattr(api, "deliver", None)  # not called
    with socket.create_server(("127.0.0.1", 0)) as silent:
        record_to(f"http://127.0.0.1:{silent.getsockname()[1]}", "silent")
        assert log(passes("silent")[0], model) is None


def test_the_outputs_of_a_cluster_are_logged_from_its_object_store(
    server: MlflowServer, passes: Callable[[str], list[RunResults]], model: Path, tmp_path: Path, bucket: str
) -> None:
    """A pod has no disk that stays, so its outputs are what is kept."""
    folder = "v2/artifacts/network-slimming/on-cluster"
    store = boto3.client("s3")
    for task, results in zip(("evaluate", "evaluate-2", "evaluate-3"), passes("on-cluster"), strict=True):
        results.save(tmp_path / "results")
        store.upload_file(str(tmp_path / "results"), bucket, f"{folder}/{task}/0a1b/results")
        store.upload_file(str(model), bucket, f"{folder}/{task}/0a1b/bundle/model.onnx")
        store.put_object(Bucket=bucket, Key=f"{folder}/{task}/0a1b/report", Body=b"<p>")
    (run,) = tracking.sync(f"s3://{bucket}/{folder}", uri=server.uri)
    assert (run.key, run.passes) == ("on-cluster", ("baseline", "pass 1", "pass 2"))
    assert tracking.read_run(server.uri, EXPERIMENT, "on-cluster").status == "FINISHED"
    assert len(server.models(EXPERIMENT, "on-cluster")) == 3
    with pytest.raises(DataError, match="no tracking server is known for it"):
        tracking.sync(f"s3://{bucket}/{folder}")


def test_results_that_name_no_run_are_refused(results: RunResults, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    with pytest.raises(DataError, match=r"results\.json: does not name its run"):
        tracking.sync(tmp_path)


def test_a_full_disk_does_not_fail_the_step(
    record_to: RecordTo,
    passes: Callable[[str], list[RunResults]],
    model: Path,
    journal: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    record_to(DEAD, "full")
    assert log(passes("full")[0], model) is None
    assert "cannot be kept for later, either" in capsys.readouterr().err
    assert tracking.kept_results(journal, "full") is None
