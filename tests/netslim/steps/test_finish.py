"""The step finish: a run is closed as FINISHED only if its last decision was to stop and no step failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netslim import tracking
from netslim.results.run_results import RunResults
from netslim.steps.finish import finish_step
from tests.helpers.results import pass_result


class Server:
    """What the step reads from and writes to the tracking server."""

    def __init__(self, results: RunResults) -> None:
        self.results = results
        self.closed: list[tuple[bool, set[str]]] = []
        self.registered: list[RunResults] = []

    def recorded_results(self, *, experiment: str) -> RunResults:
        return self.results

    def close_run(self, *, experiment: str, failed: bool, files: Mapping[str, bytes]) -> None:
        self.closed.append((failed, set(files)))

    def register_run(self, results: RunResults, *, experiment: str) -> str:
        self.registered.append(results)
        return "models:/netslim-vgg-digits/1"


STOPPED = RunResults((pass_result(0, continue_=True), pass_result(1, continue_=False, reason="done")))
RUNNING = RunResults((pass_result(0, continue_=True),))


@pytest.mark.parametrize(
    ("results", "failed", "finished"),
    [
        (STOPPED, False, True),
        (STOPPED, True, False),
        (RUNNING, False, False),
        (RunResults(), False, False),
    ],
)
def test_only_a_run_that_stopped_without_failure_is_finished_and_registered(
    results: RunResults,
    failed: bool,
    finished: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server: Any = Server(results)
    for name in ("recorded_results", "close_run", "register_run"):
        monkeypatch.setattr(tracking, name, getattr(server, name))
    finish_step(tmp_path / "report.html", failed=failed, experiment="netslim/digits")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    ((closed_as_failed, files),) = server.closed
    assert closed_as_failed is not finished
    assert "report.html" in files
    assert server.registered == ([results] if finished else [])
    assert ("registered as models:/netslim-vgg-digits/1" in capsys.readouterr().out) == finished
