"""Whichever process of a run ends, and however: no process is left, and the training wrote its checkpoint.

A run has four processes: `netslim run` itself, the worker that runs KFP, the step, and the uploader of live
curves. Here the step waits instead of training.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from netslim.child_process import GRACE
from tests.helpers.local_runs import Forks, LocalRun, alive, descendants, forks
from tests.helpers.processes import wait_until

pytestmark = pytest.mark.faults

SOON = GRACE / 2  # a process that only the last resort, SIGKILL after GRACE seconds, ends is found


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(temporary: Path) -> Iterator[Forks]:
    with forks("tests.helpers.waiting_run", temporary) as started:
        yield started


class Running:
    """A run that is in its step, and its processes."""

    def __init__(self, run: LocalRun) -> None:
        self.run = run
        wait_until((run.folder / "waiting").exists, "the step runs")
        children = descendants(run.pid)
        self.step = int((run.folder / "waiting").read_text())
        (self.worker,) = [pid for pid, command in children.items() if "local.worker" in command]
        (self.uploader,) = [pid for pid, command in children.items() if "live_curves" in command]
        self.processes = {run.pid, *children}
        assert children.keys() == {self.worker, self.step, self.uploader}, children

    @property
    def checkpoint(self) -> bool:
        return (self.run.folder / "checkpoint").exists()

    def wait_for_the_end(self) -> None:
        wait_until(lambda: not alive(self.processes), "no process is left", seconds=SOON)


@pytest.fixture
def running(server: Forks, tmp_path: Path) -> Iterator[Running]:
    run = Running(server.start(tmp_path))
    yield run
    for pid in alive(run.processes):
        os.kill(pid, SIGKILL)


@pytest.mark.parametrize(
    ("number", "code"),
    [(SIGINT, 130), (SIGTERM, 128 + SIGTERM), (SIGKILL, -SIGKILL)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_nothing_is_left_of_a_run_that_is_stopped_or_killed(running: Running, number: int, code: int) -> None:
    running.run.kill(number)
    assert running.run.wait() == code
    running.wait_for_the_end()
    assert running.checkpoint
    assert ("stopped: 20" in running.run.shown) == (number != SIGKILL), "the key begins with the year"


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_nothing_is_left_when_the_worker_is_killed(running: Running, number: int) -> None:
    os.kill(running.worker, number)
    assert running.run.wait() == 9
    running.wait_for_the_end()
    assert running.checkpoint
    error = json.loads(running.run.shown)
    name = signal.Signals(number).name
    assert error["problem"] == f"the process that runs the steps ended by {name} (signal {int(number)})"


@pytest.mark.parametrize("number", [SIGTERM, SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_killed_step_is_named_and_a_killed_uploader_is_not_missed(running: Running, number: int) -> None:
    os.kill(running.uploader, number)
    wait_until(lambda: running.uploader not in alive(running.processes), "the uploader ends")
    assert alive(running.processes) == running.processes - {running.uploader}
    os.kill(running.step, number)
    assert running.run.wait() == 9
    running.wait_for_the_end()
    error = json.loads(running.run.shown)
    assert error["value"] == "the training"
    assert error["problem"] == f"ended by {signal.Signals(number).name} (signal {int(number)})"
    assert running.checkpoint == (number == SIGTERM)


def test_the_next_run_removes_the_temporary_files_of_a_killed_one_and_marks_it(
    server: Forks, temporary: Path, tmp_path: Path
) -> None:
    killed = Running(server.start(tmp_path))
    killed.run.kill(SIGKILL)
    killed.run.wait()
    killed.wait_for_the_end()
    assert list(temporary.rglob("left by the step"))
    (key,) = (file.parent.name for file in tmp_path.rglob("run.json"))
    (tmp_path / "finish").touch()
    after = server.start(tmp_path)
    assert after.wait() == 0
    assert after.shown.splitlines() == [f"stopped: {key}"]
    assert not list(temporary.iterdir())
    assert not list(tmp_path.rglob("events.jsonl"))


def test_the_password_of_the_server_is_in_no_file(running: Running) -> None:
    files = [file for file in running.run.folder.rglob("*") if file.is_file()]
    (request,) = [file for file in files if file.name == "run.json"]
    assert request.stat().st_mode & 0o777 == 0o600
    assert not [file for file in files if b"secret" in file.read_bytes()]
