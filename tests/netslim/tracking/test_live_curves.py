"""Curves during a training: uploaded while the server is there, and never a failure of the training."""

from __future__ import annotations

import json
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
from netslim.results.run_results import RunResults
from netslim.training.history import History
from tests.helpers.mlflow_server import MlflowServer
from tests.helpers.processes import wait_until
from tests.helpers.results import pass_result

EXPERIMENT = "netslim/live"
RecordTo = Callable[[str, str], None]


class Training:
    """Writes a history as a training does, without training."""

    def __init__(self, file: Path) -> None:
        self.history = History(file)

    def epochs(self, count: int) -> None:
        for _ in range(count):
            step = len(self.history.rows) + 1
            self.history.append(step, {"train/loss": 1 / step, "val/error": 50 / step})
            time.sleep(0.02)


def uploaded_steps(server: MlflowServer, key: str, child: str) -> list[int]:
    """The epochs whose loss is in MLflow; none while the run or the server does not exist."""
    try:
        runs = server.runs(EXPERIMENT, key)
    except OSError:
        return []
    points = server.history(runs[child], "sparse/loss") if child in runs else []
    return [step for step, _, _ in points]


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_loses_no_point(
    tmp_path: Path, record_to: RecordTo, own_server: MlflowServer
) -> None:
    record_to(own_server.uri, "outage")
    history = tmp_path / "history.jsonl"
    training = Training(history)

    def uploaded() -> int:
        return len(uploaded_steps(own_server, "outage", "pass-01"))

    with tracking.live_curves(
        history, pass_index=1, stage="sparse", experiment=EXPERIMENT, delay=0.1, every=0.2
    ):
        training.epochs(10)
        wait_until(lambda: uploaded() == 10, "the first epochs are uploaded")
        own_server.kill()
        training.epochs(40)
        own_server.start()
        wait_until(lambda: uploaded() == 50, "the epochs of the outage are uploaded", seconds=120)
        training.epochs(10)
    curves = {"sparse": tuple(map(json.loads, history.read_text(encoding="utf-8").splitlines()))}
    for _ in range(2):  # the second time as a retried step
        assert tracking.log_pass(RunResults((pass_result(1, curves=curves),)), experiment=EXPERIMENT)
    run = own_server.runs(EXPERIMENT, "outage")["pass-01"]
    expected = [(epoch["step"], epoch["train/loss"], epoch["ts"]) for epoch in training.history.rows]
    assert own_server.history(run, "sparse/loss") == expected
    assert [step for step, _, _ in own_server.history(run, "sparse/val_error")] == list(range(1, 61))


@pytest.mark.slow
def test_a_resumed_training_adds_only_new_points(
    tmp_path: Path, record_to: RecordTo, server: MlflowServer
) -> None:
    record_to(server.uri, "resumed")
    first = Training(tmp_path / "history.jsonl")
    options: dict[str, Any] = {"stage": "sparse", "experiment": EXPERIMENT, "delay": 0.0, "every": 0.2}

    def uploaded() -> int:
        return len(uploaded_steps(server, "resumed", "pass-02"))

    with tracking.live_curves(first.history.path, pass_index=2, **options):
        first.epochs(6)
        wait_until(lambda: uploaded() >= 6, "six epochs are uploaded")
    resumed = Training(tmp_path / "history.jsonl")
    resumed.history = History(first.history.path, first.history.rows[:4])  # its checkpoint was of epoch 4
    with tracking.live_curves(resumed.history.path, pass_index=2, **options):
        resumed.epochs(5)
        wait_until(lambda: uploaded() >= 9, "nine epochs are uploaded")
    assert uploaded_steps(server, "resumed", "pass-02") == list(range(1, 10))


@pytest.mark.slow
def test_a_process_that_waits_for_a_server_is_killed_at_the_end(
    tmp_path: Path, record_to: RecordTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    kill = subprocess.Popen.kill

    def count_and_kill(process: subprocess.Popen[bytes]) -> None:
        killed.append(process.pid)
        kill(process)

    monkeypatch.setattr(subprocess.Popen, "kill", count_and_kill)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, and never answers
        record_to(f"http://127.0.0.1:{silent.getsockname()[1]}", "silent")
        training = Training(tmp_path / "history.jsonl")
        with tracking.live_curves(
            training.history.path, pass_index=1, stage="base", experiment=EXPERIMENT, delay=0.0, every=0.1
        ):
            training.epochs(10)
            silent.settimeout(120)
            connection, _ = silent.accept()
            connection.recv(1)  # the process has sent its request, and waits for the answer
    assert len(killed) == 1
    assert not Path(f"/proc/{killed[0]}").exists()
    assert len(training.history.rows) == 10
    connection.close()


def test_a_short_training_starts_no_upload(tmp_path: Path, record_to: RecordTo) -> None:
    record_to(f"sqlite:///{tmp_path}/mlflow.db", "short")
    training = Training(tmp_path / "history.jsonl")
    with tracking.live_curves(training.history.path, pass_index=0, stage="base", experiment=EXPERIMENT):
        training.epochs(3)
    assert not (tmp_path / "mlflow.db").exists()


def test_without_a_second_process_the_training_runs(
    tmp_path: Path, record_to: RecordTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    record_to(f"sqlite:///{tmp_path}/mlflow.db", "alone")
    monkeypatch.setattr(subprocess, "Popen", refused)
    training = Training(tmp_path / "history.jsonl")
    with tracking.live_curves(training.history.path, pass_index=0, stage="base"):
        training.epochs(2)
    assert len(training.history.rows) == 2


def test_without_a_destination_no_process_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with tracking.live_curves(tmp_path / "history.jsonl", pass_index=0, stage="base"):
        pass


def test_exceptions_of_the_training_pass_through(tmp_path: Path, record_to: RecordTo) -> None:
    record_to(f"sqlite:///{tmp_path}/mlflow.db", "raises")
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


def test_a_killed_training_leaves_no_process(tmp_path: Path, record_to: RecordTo) -> None:
    record_to(f"sqlite:///{tmp_path}/mlflow.db", "killed")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "history.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout
        training.stdout.readline()
        children = Path(f"/proc/{training.pid}/task/{training.pid}/children")
        background = int(children.read_text())
        os.kill(training.pid, signal.SIGKILL)

    def ended() -> bool:
        state = Path(f"/proc/{background}/stat")
        return not state.exists() or state.read_text().split()[2] == "Z"

    wait_until(ended, "the process beside the training ends", seconds=30)
