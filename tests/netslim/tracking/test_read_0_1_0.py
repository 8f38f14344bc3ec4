"""Runs that netslim 0.1.0 recorded are read, shown, and compared with new runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from netslim import tracking
from netslim.cli.show import show
from netslim.tracking.client import ensure_experiment
from netslim.tracking.registry import replaces

FILES = Path(__file__).parents[2] / "data" / "0.1.0" / "mlflow"
RecordTo = Callable[[str, str], None]
EXPERIMENT, KEY = "netslim/digits", "digits-20261101-080000"
CONSTANTS = {"architecture": "vgg-digits", "dataset": "Digits", "percent": "0.5", "max_loss": "1"}
NEW_VERSION = {"netslim.error": "1.5", "netslim.flops": "100", "netslim.error_kind": "test"}


def record_as_0_1_0(uri: str) -> None:
    """Make the runs of one pipeline run with the names, tags and files of 0.1.0."""
    client = MlflowClient(uri)
    experiment = ensure_experiment(client, uri, EXPERIMENT)
    of_the_run = {"netslim.run": KEY, "netslim.version": "0.1.0"}
    parent = client.create_run(experiment, run_name=KEY, tags={**of_the_run, "netslim.key": KEY}).info.run_id
    client.log_batch(parent, params=[Param(name, value) for name, value in CONSTANTS.items()])
    for index, error in enumerate((1.0, 1.25)):
        name = f"pass-{index:02d}"
        tags = {"netslim.key": f"{KEY}/{name}", "mlflow.parentRunId": parent, "netslim.delivered": "0" * 64}
        child = client.create_run(experiment, run_name=name, tags=of_the_run | tags).info.run_id
        values = {"model/channels": 90 // 3**index, "eval/error": error}
        points = [Metric(key, value, 1_700_000_000_000, index) for key, value in values.items()]
        client.log_batch(child, metrics=points)
        client.log_text(child, (FILES / f"{name}.row.json").read_text(), "row.json")
        client.set_terminated(child)
    client.set_terminated(parent)


def test_a_run_is_read(database: str) -> None:
    record_as_0_1_0(database)
    run = tracking.read_run(database)
    assert (run.key, run.experiment, run.status) == (KEY, EXPERIMENT, "FINISHED")
    assert [(each.index, each.size.params, each.errors.test) for each in run.results.rows] == [
        (0, 900, 1.0),
        (1, 300, 1.25),
    ]
    assert dict(run.results.constants) == CONSTANTS
    assert run.results.max_error_increase == 1.0


def test_a_run_is_shown(database: str, tmp_path: Path) -> None:
    record_as_0_1_0(database)
    shown = CliRunner().invoke(show, ["--output", str(tmp_path)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert shown.output.startswith(f"Run {KEY} in {EXPERIMENT}, started ")
    assert "1.25" in shown.output


def test_a_run_is_continued_in_the_same_runs(database: str, record_to: RecordTo) -> None:
    """A pipeline that was started with 0.1.0 is run again: its passes are recorded again, in their runs."""
    record_as_0_1_0(database)
    before = tracking.read_run(database)
    record_to(database, KEY)
    assert tracking.log_pass(before.results, experiment=EXPERIMENT)
    after = tracking.read_run(database)
    assert (after.run_id, after.results) == (before.run_id, before.results)
    client = MlflowClient(database)
    runs = client.search_runs([after.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [KEY, "pass-00", "pass-01"]
    child = next(run for run in runs if run.info.run_name == "pass-01").info.run_id
    assert {file.path for file in client.list_artifacts(child)} == {"row.json", "pass.json"}
    assert len(client.get_metric_history(child, "eval/error")) == 1


def test_a_champion_of_0_1_0_is_compared() -> None:
    champion = {**NEW_VERSION, "netslim.flops": "200", "netslim.allowed_from": "1.0"}
    assert replaces(NEW_VERSION, champion, 0.5)
    assert not replaces(NEW_VERSION, champion, 0.4)  # its increase over 1.0 is 0.5
    assert not replaces({**NEW_VERSION, "netslim.flops": "300"}, champion, 0.5)
    by_hand = {name: value for name, value in champion.items() if name != "netslim.allowed_from"}
    assert not replaces(NEW_VERSION, by_hand, 0.5)
