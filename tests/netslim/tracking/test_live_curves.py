"""Curves while a training runs: there when the server is, and never in the training's way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netslim import tracking
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.steps.step_record import read_history
from netslim.tracking.live_curves import GRACE
from netslim.training.history import History
from tests.helpers.results import pass_result

EXPERIMENT = "netslim/live"
Place = Callable[[str, str], None]


class Training:
    """Epochs that take no time of their own: what an epoch takes is what it was made to wait."""

    def __init__(self, file: Path) -> None:
        self.history = History(file)
        self.longest = 0.0

    def epochs(self, count: int) -> None:
        for _ in range(count):
            start = time.perf_counter()
            step = len(self.history.rows) + 1
            self.history.append(step, {"train/loss": 1 / step, "val/error": 50 / step})
            self.longest = max(self.longest, time.perf_counter() - start)
            time.sleep(0.02)


def row(curves: dict[str, Any]) -> PassResult:
    return pass_result(1, curves=curves)


def test_a_server_killed_and_restarted_costs_no_point_and_no_time(
    tmp_path: Path, place: Place, own_server: Any, wait_until: Any
) -> None:
    place(own_server.uri, "outage")
    history = tmp_path / "history.jsonl"
    training = Training(history)

    def told() -> list[int]:
        try:
            runs = own_server.runs(EXPERIMENT, "outage")
        except OSError:  # 404: nothing has been told yet
            return []
        found = own_server.history(runs["pass-01"], "sparse/loss") if "pass-01" in runs else []
        return [step for step, _, _ in found]

    with tracking.live_curves(
        history, pass_index=1, stage="sparse", experiment=EXPERIMENT, delay=0.1, every=0.2
    ):
        training.epochs(10)
        wait_until(lambda: len(told()) == 10, 60, "the first epochs are told")
        own_server.kill()
        training.epochs(40)
        own_server.start()
        wait_until(lambda: len(told()) == 50, 60, "the epochs of the outage are told")
        training.epochs(10)
        leaving = time.perf_counter()
    assert time.perf_counter() - leaving < GRACE + 2
    assert training.longest < 1  # its own append to a file, on a machine that does other things too
    curves = {"sparse": tuple(read_history(history))}
    for _ in range(2):  # the second time as a retried step
        assert tracking.log_pass(RunResults((row(curves),)), experiment=EXPERIMENT)
    run = own_server.runs(EXPERIMENT, "outage")["pass-01"]
    expected = [(epoch["step"], epoch["train/loss"], epoch["ts"]) for epoch in training.history.rows]
    assert own_server.history(run, "sparse/loss") == expected
    assert [step for step, _, _ in own_server.history(run, "sparse/val_error")] == list(range(1, 61))


def test_a_resumed_training_adds_only_what_is_new(
    tmp_path: Path, place: Place, server: Any, wait_until: Any
) -> None:
    place(server.uri, "resumed")
    first = Training(tmp_path / "history.jsonl")
    options = {"pass_index": 2, "stage": "sparse", "experiment": EXPERIMENT, "delay": 0.0, "every": 0.2}

    def told(count: int) -> Callable[[], bool]:
        def there() -> bool:
            try:
                runs = server.runs(EXPERIMENT, "resumed")
            except OSError:
                return False
            return "pass-02" in runs and len(server.history(runs["pass-02"], "sparse/loss")) >= count

        return there

    with tracking.live_curves(first.history.path, **options):
        first.epochs(6)
        wait_until(told(6), 60, "six epochs are told")
    resumed = Training(tmp_path / "history.jsonl")
    resumed.history = History(first.history.path, first.history.rows[:4])  # its checkpoint was of epoch 4
    with tracking.live_curves(resumed.history.path, **options):
        resumed.epochs(5)
        wait_until(told(9), 60, "nine epochs are told")
    run = server.runs(EXPERIMENT, "resumed")["pass-02"]
    assert [step for step, _, _ in server.history(run, "sparse/loss")] == list(range(1, 10))


def test_a_server_that_hangs_costs_no_more_than_the_grace(tmp_path: Path, place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # accepts, and never answers
        place(f"http://127.0.0.1:{hanging.getsockname()[1]}", "hangs")
        training = Training(tmp_path / "history.jsonl")
        start = time.perf_counter()
        with tracking.live_curves(
            training.history.path, pass_index=1, stage="base", experiment=EXPERIMENT, delay=0.0, every=0.1
        ):
            training.epochs(100)
            hanging.settimeout(60)
            hanging.accept()[0].recv(1)  # it has asked: from here on it waits
            leaving = time.perf_counter()
        end = time.perf_counter()
    assert training.longest < 1
    assert end - leaving < GRACE + 2
    assert end - start > GRACE


def test_a_short_training_pays_next_to_nothing(tmp_path: Path, place: Place) -> None:
    place(f"sqlite:///{tmp_path}/mlflow.db", "short")
    training = Training(tmp_path / "history.jsonl")
    start = time.perf_counter()
    with tracking.live_curves(training.history.path, pass_index=0, stage="base", experiment=EXPERIMENT):
        training.epochs(3)
    assert time.perf_counter() - start < 2
    assert not (tmp_path / "mlflow.db").exists()


def test_a_machine_that_allows_no_other_process_still_trains(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    place(f"sqlite:///{tmp_path}/mlflow.db", "alone")
    monkeypatch.setattr(subprocess, "Popen", refused)
    training = Training(tmp_path / "history.jsonl")
    with tracking.live_curves(training.history.path, pass_index=0, stage="base"):
        training.epochs(2)
    assert len(training.history.rows) == 2


def test_without_a_place_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with tracking.live_curves(tmp_path / "history.jsonl", pass_index=0, stage="base"):
        pass


def test_what_the_training_raises_passes_through(tmp_path: Path, place: Place) -> None:
    place(f"sqlite:///{tmp_path}/mlflow.db", "raises")
    with (
        pytest.raises(RuntimeError, match="diverged"),
        tracking.live_curves(tmp_path / "history.jsonl", pass_index=0, stage="base"),
    ):
        raise RuntimeError("diverged")


KILLED = """
import os, sys, time
from pathlib import Path
from netslim import tracking
with tracking.live_curves(Path(sys.argv[1]), pass_index=0, stage="base", experiment="x", delay=600):
    print(os.getpid(), flush=True)
    time.sleep(600)
"""


def test_a_killed_training_leaves_no_process_behind(tmp_path: Path, place: Place, wait_until: Any) -> None:
    place(f"sqlite:///{tmp_path}/mlflow.db", "killed")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "history.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout
        training.stdout.readline()
        children = Path(f"/proc/{training.pid}/task/{training.pid}/children")
        teller = int(children.read_text())
        os.kill(training.pid, signal.SIGKILL)

    def gone() -> bool:
        state = Path(f"/proc/{teller}/stat")
        return not state.exists() or state.read_text().split()[2] == "Z"

    wait_until(gone, 10, "the process beside the training ends")
