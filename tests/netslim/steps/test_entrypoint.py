"""A step's process ends with the exit code of its error, and writes the error where the runner reads it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from netslim import progress
from netslim.errors import ConfigError, NetslimError, PipelineError
from netslim.steps.entrypoint import step_process


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    return tmp_path / "events"


def last_event(events: Path) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(events.read_text(encoding="utf-8").splitlines()[-1])
    return event


def test_a_user_error_becomes_one_line_an_event_and_an_exit_code(
    events: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ConfigError("too large", field="percent", value=2, remedy="Give 0.5")
    with pytest.raises(SystemExit) as ended, step_process():
        raise error
    assert ended.value.code == ConfigError.exit_code
    assert capsys.readouterr().err == "netslim: percent = 2: too large. Give 0.5.\n"
    event = last_event(events)
    assert event["event"] == "error"
    rebuilt = NetslimError.from_json(event)
    assert type(rebuilt) is ConfigError
    assert rebuilt.to_json() == error.to_json()


def test_a_bug_keeps_its_traceback_and_is_an_event_too(events: Path) -> None:
    with pytest.raises(ZeroDivisionError), step_process():
        1 / 0  # noqa: B018
    rebuilt = NetslimError.from_json(last_event(events))
    assert type(rebuilt) is PipelineError
    assert "ZeroDivisionError: division by zero" in str(rebuilt)


def test_a_step_without_an_error_writes_no_event(events: Path) -> None:
    with step_process():
        pass
    assert not events.exists()


def test_sigterm_ends_the_step_after_its_finally_blocks(events: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    removed = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # a second signal does not stop them
            removed.append("the incomplete folder")

    with pytest.raises(SystemExit) as ended, step_process():
        work()
    assert ended.value.code == 143
    assert removed
    assert signal.getsignal(signal.SIGTERM) == before
    assert not events.exists(), "being stopped is no error of the step"
