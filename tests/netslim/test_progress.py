"""Progress without a terminal: events in a file, lines in a log, and no line for short work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netslim import progress


@pytest.fixture(autouse=True)
def no_event_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.ENVIRONMENT, raising=False)


def test_a_log_gets_a_line_every_30_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.bar("sparse training", 100) as bar:
        for _ in range(10):
            now += progress.LINE_EVERY / 4
            metrics: dict[str, float | str] = {
                "loss": 0.123456,
                "train error": 2.5,
                "factors at zero": "38 %",
            }
            bar.advance(10, **metrics)
    assert capsys.readouterr().err.splitlines() == [
        "sparse training  40 of 100  loss 0.1235  train error 2.5  factors at zero 38 %",
        "sparse training  80 of 100  loss 0.1235  train error 2.5  factors at zero 38 %",
    ]


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("download", 2) as bar:
        bar.advance()
        bar.advance()
    assert capsys.readouterr().err == ""


def test_events_are_appended_to_the_file_of_the_environment_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    with progress.bar("pruning", 3) as bar:
        bar.advance(2, channels=40)
    progress.emit_event("error", problem="full")
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [(event["event"], event.get("done"), event.get("metrics")) for event in events] == [
        ("start", 0, {}),
        ("advance", 2, {"channels": 40}),
        ("end", 2, {}),
        ("error", None, None),
    ]
    assert events[3] == {"event": "error", "problem": "full"}
    assert len({event["id"] for event in events[:3]}) == 1
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_written_does_not_stop_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "missing" / "events"))
    with progress.bar("pruning", 1) as bar:
        bar.advance()
