"""`netslim submit --wait`: the states of a run, a backend that is away, and Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from netslim_kfp.pipelines.cluster import watch as watching
from tests.helpers.kfp_state import Cluster, Fault
from tests.helpers.submitting import refused, run


def test_wait_prints_the_states_and_ends_with_the_run(cluster: Cluster) -> None:
    cluster.states = ["PENDING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"]
    result = run(cluster, "--wait")
    assert result.exit_code == 0
    assert re.findall(r"\d:\d\d   (\w+)\n", result.output) == ["pending", "running", "succeeded"]
    assert cluster.asked("GET /runs/") == 5


def test_a_wait_goes_on_while_a_server_is_upgraded(cluster: Cluster) -> None:
    cluster.states = ["RUNNING", "SUCCEEDED"]
    cluster.faults = [Fault("GET /runs/", 503, times=30)]
    assert run(cluster, "--wait").exit_code == 0
    assert cluster.asked("GET /runs/") == 32


def test_a_wait_is_given_up_when_the_server_is_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.0)
    cluster.faults = [Fault("GET /runs/", 503, times=99)]
    assert "cannot look at the run (503" in refused(run(cluster, "--wait"))


def test_without_wait_the_state_is_not_asked_for(cluster: Cluster) -> None:
    run(cluster)
    assert cluster.asked("GET /runs/") == 0


WAITING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from netslim_kfp.pipelines.cli.follow import Follower
Follower(KfpClient(host={host!r}, namespace="ann")).follow({run!r}, "the-link", cancels={cancels})
"""


@pytest.mark.parametrize(("cancels", "said"), [(False, "The run goes on: the-link"), (True, "Canceled.")])
def test_ctrl_c_stops_the_wait_and_the_run_only_if_asked(cluster: Cluster, cancels: bool, said: str) -> None:
    run(cluster)
    cluster.states = ["RUNNING"]
    code = WAITING.format(host=cluster.address, run=cluster.runs[0].run_id, cancels=cancels)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            deadline = time.monotonic() + 120
            while not cluster.asked("GET /runs/"):
                assert time.monotonic() < deadline
                threading.Event().wait(0.05)  # `time.sleep` does not wait in these tests
            waiting.send_signal(signal.SIGINT)
            _, printed = waiting.communicate(timeout=60)
        finally:
            waiting.kill()  # or the end of the block would wait for it
    assert said in printed
    assert waiting.returncode != 0
    assert cluster.asked(":terminate") == cancels
    assert cluster.runs[0].state == ("CANCELING" if cancels else "RUNNING")
