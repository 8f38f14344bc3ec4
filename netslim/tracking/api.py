"""The functions that pipeline steps call: log a pass, read the passes, close the run.

They take the server and the run from the environment variables (see `netslim.tracking`). No outage of the
server fails a step: what could not be logged is kept (`netslim.tracking.journal`) and logged later.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from netslim.errors import TrackingError
from netslim.results.ending import FINISHED, Ending
from netslim.results.run_results import RunResults
from netslim.tracking import journal
from netslim.tracking.client import connect
from netslim.tracking.destination import KEY, URI, Destination, sqlite_file
from netslim.tracking.names import REGISTERED_TAG, REPORT_FILE
from netslim.tracking.read import RunState, read_results, read_state
from netslim.tracking.registry import register
from netslim.tracking.runs import RunGroup, find_run_group
from netslim.tracking.write import close, record, upload

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["PATIENCE", "Logged", "close_run", "deliver", "log_pass", "mark_killed", "run_state"]

NOT_RECORDED = f"netslim: not recorded in MLflow; set {URI} and {KEY} to record runs"
PATIENCE = 25.0
"""Seconds for which a step tries again while the server does not answer. The later steps of the run try once,
so that all waits of a run are below a minute: this one with its last try, and a probe in each later step."""
PROBE = 3  # seconds for the first answer of a server

T = TypeVar("T")


@dataclass(frozen=True)
class Logged:
    """A pass that is in MLflow.

    `ended` says whether the run was closed as FINISHED: no pass, or point of a sweep, is missing.
    `registered` is the address of the model that such a run registered.
    """

    ended: bool = False
    registered: str | None = None


def log_pass(
    results: RunResults,
    *,
    experiment: str,
    bundle: Path | None = None,
    page: bytes = b"",
    patience: float = PATIENCE,
) -> Logged | None:
    """Write the passes that MLflow lacks, the bundle of the last pass, and the report, to MLflow.

    If the last pass ends the run, it is closed as FINISHED, with plots, and its best model is registered.
    This also holds for a run that was closed as FAILED and then tried again.

    Without a server or a run key in the environment nothing is written, and one line on stderr says so. After
    `patience` seconds without the server the pass is kept for later, and one line on stderr says where.

    Args:
        page: the report so far, as HTML; for a point of a sweep one of all points is made here instead.
        patience: seconds for which a failed request is tried again.

    Returns:
        None if the pass is not in MLflow.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        print(NOT_RECORDED, file=sys.stderr, flush=True)
        return None
    try:
        return _retry(
            destination,
            lambda client: deliver(RunGroup.open(client, destination), results, bundle, page),
            patience,
        )
    except TrackingError as error:
        kept = journal.keep_pass(destination, results, bundle)
        print(f"netslim: this pass is not in MLflow yet: {error} {kept}", file=sys.stderr, flush=True)
        return None


def deliver(
    run_group: RunGroup, results: RunResults, bundle: Path | None = None, page: bytes = b""
) -> Logged:
    """`log_pass` on an open connection. It is safe to repeat."""
    from netslim import report

    record(run_group, results, bundle)
    run_group.read_again()  # with the tags that were set
    is_sweep = any(row.label for row in results.rows)
    everything = read_results(run_group) if is_sweep else results
    if is_sweep or (everything.ended and not page):
        page = report.html(everything).encode()
    if not everything.ended:
        upload(run_group.client, run_group.parent(), {REPORT_FILE: page} if page else {})
        return Logged()
    close(run_group, FINISHED, {REPORT_FILE: page, **report.plots(everything)})
    experiment = run_group.destination.experiment
    registered = register(run_group, everything, experiment)
    if registered:
        run_group.client.set_tag(run_group.parent().info.run_id, REGISTERED_TAG, registered)
    return Logged(ended=True, registered=registered)


def run_state(*, experiment: str, patience: float = 0.0) -> RunState | None:
    """The status, the passes and the report of this run in MLflow.

    The status is empty where the run does not exist. None without a server or a run key in the environment.

    Raises:
        TrackingError: the server cannot be used for `patience` seconds.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        return None

    def read(client: MlflowClient) -> RunState:
        run_group = find_run_group(client, destination)
        return read_state(run_group) if run_group else RunState("", RunResults(), b"")

    return _retry(destination, read, patience)


def close_run(
    *,
    experiment: str,
    ending: Ending,
    files: Mapping[str, bytes],
    results: RunResults | None = None,
    patience: float = 0.0,
) -> bool:
    """End the run with the status and the reason of `ending`, and write `files` to its artifacts.

    A server that cannot be used raises nothing: the end of the run is kept for later, as in `log_pass`.

    Returns:
        Whether the run is closed in MLflow.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        print(NOT_RECORDED, file=sys.stderr, flush=True)
        return False
    try:
        _retry(
            destination,
            lambda client: close(RunGroup.open(client, destination), ending, files, results),
            patience,
        )
    except TrackingError as error:
        kept = journal.keep_ending(destination, ending)
        print(
            f"netslim: the end of the run is not in MLflow yet: {error} {kept}", file=sys.stderr, flush=True
        )
        return False
    return True


def mark_killed(uri: str, experiment: str, key: str) -> None:
    """Close a run that was stopped from outside as KILLED, if it is in MLflow and has not ended.

    A server that cannot be used raises nothing: the run stays RUNNING there. Neither does a key that MLflow
    cannot have, such as the name of a folder that was renamed.
    """

    def act(client: MlflowClient) -> None:
        run_group = find_run_group(client, destination)
        if run_group and run_group.parent().info.status == "RUNNING":
            close(run_group, Ending(status="KILLED"), {})

    with suppress(TrackingError):
        destination = Destination(uri, experiment, key)
        _retry(destination, act, 0.0)


def _retry(destination: Destination, act: Callable[[MlflowClient], T], seconds: float) -> T:
    """Call `act`, and call it again with growing pauses while it raises TrackingError.

    `act` may fail after it has written something, so it must be safe to repeat. It is not called before the
    server has answered a small request: a server that accepts connections and never answers costs `PROBE`
    seconds a try, and not the time limit of each request.
    """
    deadline, pause = time.monotonic() + seconds, 1.0
    while True:
        try:
            if sqlite_file(destination.uri) is None:
                with connect(destination.uri, retries=0, timeout=PROBE) as client:
                    client.search_experiments(max_results=1)
            with connect(destination.uri, retries=1) as client:
                return act(client)
        except TrackingError as error:
            if time.monotonic() + pause > deadline:
                raise
            print(f"netslim: {error} Trying again in {pause:g} s.", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause *= 2
