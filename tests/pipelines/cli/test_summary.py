"""The end of a local run on screen, during an outage of MLflow, and the start of the next run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from netslim import tracking
from netslim.errors import TrackingError
from netslim.results.run_results import RunResults
from netslim.tracking.destination import Destination
from netslim.tracking.journal import keep_pass
from netslim_kfp.pipelines.cli.summary import log_pending, summary
from netslim_kfp.pipelines.local.run import Outcome
from netslim_kfp.pipelines.run_config import RunConfig
from tests.helpers.results import pass_result

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """A run whose two passes MLflow did not accept."""
    monkeypatch.setattr("netslim.report.page.figures", lambda results: [])
    monkeypatch.setenv(tracking.JOURNAL, str(tracking.journal_of(tmp_path)))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.onnx").write_bytes(b"model")
    slim = pass_result(1, test=1.5, macs=30, continue_=False)
    rows = (pass_result(0, test=1.0, macs=90, continue_=True), slim)
    constants = {"max_error_increase": "1"}
    origin = {"experiment": "netslim/digits", "key": "lost"}
    for count in (1, 2):
        results = RunResults(rows[:count], constants, origin)
        keep_pass(Destination(DEAD, "netslim/digits", "lost"), results, tmp_path / "bundle")
    folder = tmp_path / "lost"
    folder.mkdir()
    return Outcome("lost", folder, (), ())


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_bundles_and_report_come_from_what_is_kept(outcome: Outcome, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    config = RunConfig(output=tmp_path)
    summary(outcome, config, DEAD, console)
    text = shown(console)
    assert "Take pass 1: 1.50 % test error" in text
    assert f"{outcome.folder}/report.html" in text
    assert "MLflow did not accept all results of this run. They are kept in" in text
    for name in ("pass-00", "pass-01"):
        assert (outcome.folder / name / "model.onnx").read_bytes() == b"model"
    strict = config.model_copy(update={"strict_tracking": True})
    with pytest.raises(TrackingError, match="did not accept all results"):
        summary(outcome, strict, DEAD, Console(file=io.StringIO()))


def test_a_damaged_file_or_an_outage_does_not_stop_the_next_run(outcome: Outcome, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    config = RunConfig(output=tmp_path)
    log_pending(config, DEAD, console)
    assert "Earlier runs are not logged yet: MLFLOW_TRACKING_URI = http://127.0.0.1:9" in shown(console)
    damaged = tracking.journal_of(tmp_path) / "lost" / "pass-00" / "results.json"
    damaged.write_text(damaged.read_text().replace("1.0", "1.2", 1))
    log_pending(config, DEAD, console)
    assert "results.json" in shown(console)
