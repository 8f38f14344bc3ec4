"""The last line of a step's log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netslim import progress
from netslim.errors import TrainingError
from netslim.steps.entrypoint import step_process
from netslim.steps.step_log import step_log


def test_the_line_has_the_time_and_the_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    with step_log("pruning of pass 2") as log:
        log.outcome = "90 to 45 channels"
    assert re.fullmatch(
        r"netslim: pruning of pass 2 done in 0\.\d s: 90 to 45 channels\n", capsys.readouterr().out
    )


def test_a_failed_step_is_not_done_and_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    assert progress.reported_errors() == []
    with pytest.raises(SystemExit), step_process(), step_log("sparse training of pass 1"):
        raise TrainingError("diverged", remedy="Lower the learning rate")
    assert "done" not in capsys.readouterr().out
    assert progress.reported_errors() == [("sparse training of pass 1", "diverged. Lower the learning rate.")]
