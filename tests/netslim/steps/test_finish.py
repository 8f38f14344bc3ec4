"""The step finish: it closes what no evaluation has closed, with the status that is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netslim import tracking
from netslim.results.ending import Ending
from netslim.results.run_results import RunResults
from netslim.steps.finish import finish_step
from tests.helpers.results import pass_result

RUNNING = RunResults((pass_result(0, continue_=True),))
SWEEP = RunResults((pass_result(1, label="percent 0.5", continue_=False),))
SWEEP_OF_TWO = RunResults(SWEEP.rows, {"points": "2"})


@pytest.mark.parametrize(
    ("state", "ending", "closed_as"),
    [
        (tracking.RunState("FINISHED", RUNNING, b"<p>"), "FAILED", None),
        (tracking.RunState("RUNNING", RUNNING, b"<p>"), "FAILED", "FAILED"),
        (tracking.RunState("RUNNING", RUNNING, b"<p>"), "KILLED", "KILLED"),
        (tracking.RunState("FAILED", RUNNING, b"<p>"), "KILLED", "KILLED"),
        (tracking.RunState("", RunResults(), b""), "KILLED", "KILLED"),
        (tracking.RunState("RUNNING", SWEEP, b"<p>"), "KILLED", "FINISHED"),
        (tracking.RunState("RUNNING", SWEEP, b"<p>"), "FAILED", "FAILED"),
        (tracking.RunState("RUNNING", SWEEP_OF_TWO, b"<p>"), "KILLED", "KILLED"),
        (None, "KILLED", "FINISHED"),  # nothing is recorded, and no step failed
        (None, "FAILED", "FAILED"),
    ],
)
def test_the_status(
    state: tracking.RunState | None,
    ending: Any,
    closed_as: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []

    def close_run(*, ending: Ending, files: Mapping[str, bytes], **_: Any) -> bool:
        assert "report.html" in files
        closed.append(ending.status)
        return True

    monkeypatch.setattr("netslim.report.figures.plots", lambda results: {})
    monkeypatch.setattr(tracking, "run_state", lambda **_: state)
    monkeypatch.setattr(tracking, "close_run", close_run)
    finish_step(tmp_path / "report.html", ending=lambda: Ending(status=ending), experiment="netslim/digits")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert closed == ([closed_as] if closed_as else [])
    assert page == "<p>" if closed_as is None else page.endswith("</html>")
    assert ("The run " in page) == (closed_as in ("FAILED", "KILLED"))
