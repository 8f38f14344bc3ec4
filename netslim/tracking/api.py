"""The functions that pipeline steps call: record a pass, read the passes, close and register the run.

They take the server and the run from the environment variables (see `netslim.tracking`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from netslim.errors import TrackingError
from netslim.results.run_results import RunResults
from netslim.tracking.client import connect
from netslim.tracking.destination import KEY, URI, Destination
from netslim.tracking.read import read_results
from netslim.tracking.registry import register
from netslim.tracking.runs import RunGroup, find_run_group
from netslim.tracking.write import close, record

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["close_run", "log_pass", "recorded_results", "register_run"]

NOT_RECORDED = f"netslim: not recorded in MLflow; set {URI} and {KEY} to record runs"
RETRY_SECONDS = 30.0

T = TypeVar("T")


def log_pass(
    results: RunResults,
    *,
    experiment: str,
    bundle: Path | None = None,
    retry_seconds: float = RETRY_SECONDS,
) -> bool:
    """Write the passes that MLflow lacks, and the bundle of the last pass, to MLflow.

    Without a server or a run key in the environment nothing is written, and one line on stderr says so. A
    server that cannot be reached does not stop the pipeline either: after `retry_seconds` a warning is
    printed. The next pass writes this pass, too, because `results` then has both.

    Returns:
        Whether everything is in MLflow.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        print(NOT_RECORDED, file=sys.stderr)
        return False
    try:
        _retry(
            destination,
            lambda client: record(RunGroup.open(client, destination), results, bundle),
            retry_seconds,
        )
    except TrackingError as error:
        print(f"netslim: this pass is not in MLflow yet: {error}", file=sys.stderr)
        return False
    return True


def recorded_results(*, experiment: str, retry_seconds: float = RETRY_SECONDS) -> RunResults:
    """The passes of this run in MLflow; none without a server or a run key in the environment.

    Raises:
        TrackingError: the server cannot be used for `retry_seconds`.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        return RunResults()

    def read(client: MlflowClient) -> RunResults:
        run_group = find_run_group(client, destination)
        return read_results(run_group) if run_group else RunResults()

    return _retry(destination, read, retry_seconds)


def close_run(
    *, experiment: str, failed: bool, files: Mapping[str, bytes], retry_seconds: float = RETRY_SECONDS
) -> None:
    """End the run as FINISHED or FAILED, and write `files` (a report, plots) to its artifacts.

    Raises:
        TrackingError: the server cannot be used for `retry_seconds`.
    """
    destination = Destination.from_environment(experiment)
    if destination is None:
        print(NOT_RECORDED, file=sys.stderr)
        return
    _retry(
        destination,
        lambda client: close(RunGroup.open(client, destination), failed=failed, files=files),
        retry_seconds,
    )


def register_run(results: RunResults, *, experiment: str, retry_seconds: float = RETRY_SECONDS) -> str | None:
    """Make the run's best model a version in MLflow's registry (see `netslim.tracking.registry`), once.

    Returns:
        The address of the version for `mlflow.pyfunc.load_model`; None when there is nothing to register,
        or no server or run key in the environment.

    Raises:
        TrackingError: the server cannot be used for `retry_seconds`.
    """
    destination = Destination.from_environment(experiment)
    if destination is None or not results.rows:
        return None
    return _retry(
        destination,
        lambda client: register(RunGroup.open(client, destination), results, experiment),
        retry_seconds,
    )


def _retry(destination: Destination, act: Callable[[MlflowClient], T], seconds: float) -> T:
    """Call `act`, and call it again with growing pauses while it raises TrackingError.

    `act` may fail after it has written something, so it must be safe to repeat.
    """
    deadline, pause = time.monotonic() + seconds, 1.0
    while True:
        try:
            with connect(destination.uri, retries=1) as client:
                return act(client)
        except TrackingError:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 2
