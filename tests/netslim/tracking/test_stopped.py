"""A run on this machine that was stopped is KILLED in MLflow, and no longer RUNNING for ever."""

from __future__ import annotations

import socket

from netslim import tracking
from netslim.tracking.client import connect
from netslim.tracking.destination import Destination
from netslim.tracking.names import KEY_TAG
from netslim.tracking.runs import RunGroup

EXPERIMENT = "netslim/stopped"


def test_only_a_run_that_has_not_ended_is_killed(database: str) -> None:
    with connect(database) as client:
        for key in ("stopped", "finished"):
            group = RunGroup.open(client, Destination(database, EXPERIMENT, key))
            group.child("pass-01")
            if key == "finished":
                client.set_terminated(group.parent().info.run_id, "FINISHED")
        for key in ("stopped", "finished", "not-in-MLflow", "a renamed folder"):
            tracking.mark_killed(database, EXPERIMENT, key)
        found = client.search_runs([group.experiment_id])
    assert {run.data.tags[KEY_TAG]: run.info.status for run in found} == {
        "stopped": "KILLED",
        "stopped/pass-01": "KILLED",
        "finished": "FINISHED",
        "finished/pass-01": "RUNNING",
    }


def test_a_server_that_is_away_is_no_error() -> None:
    with socket.socket() as no_server:
        no_server.bind(("127.0.0.1", 0))  # and no listen: connections are refused
        tracking.mark_killed(f"http://127.0.0.1:{no_server.getsockname()[1]}", EXPERIMENT, "key")
