"""Progress is told where nobody draws bars: a line from time to time, and none for short work."""

from __future__ import annotations

import pytest

from netslim import progress


@pytest.fixture(autouse=True)
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.ENVIRONMENT, raising=False)


def test_a_log_gets_a_line_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.bar("sparse training", 100) as bar:
        for _ in range(10):
            now += progress.EVERY / 4
            bar.advance(10, loss=0.123456, epoch="2")
    assert capsys.readouterr().err.splitlines() == [
        "sparse training  40 of 100  loss 0.1235  epoch 2",
        "sparse training  80 of 100  loss 0.1235  epoch 2",
    ]


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("download", 2) as bar:
        bar.advance()
        bar.advance()
    assert capsys.readouterr().err == ""
