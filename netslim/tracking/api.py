"""What steps call: record a pass, read the run, close it. They find server and run in the environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from netslim.errors import TrackingError
from netslim.results.run_results import RunResults
from netslim.tracking.client import mlflow_at
from netslim.tracking.destination import KEY, URI, Destination
from netslim.tracking.read import ledger_of
from netslim.tracking.registry import register
from netslim.tracking.runs import RunGroup, find_run_group
from netslim.tracking.write import close, record

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["close_run", "log_pass", "recorded", "register_run"]

UNTRACKED = f"netslim: not recorded in MLflow; set {URI} and {KEY} for that"
PATIENCE = 30.0  # seconds in which a server may come back

T = TypeVar("T")


def log_pass(
    ledger: RunResults, *, experiment: str, bundle: Path | None = None, patience: float = PATIENCE
) -> bool:
    """Bring the ledger's rows that MLflow does not have yet, and the last row's bundle, to MLflow.

    A server that is away does not stop the pipeline: after `patience` seconds a warning is printed, and the
    next pass brings this one too, because its ledger holds both.

    Returns:
        Whether everything is there. Without a server or a key in the environment nothing is, which it says.
    """
    place = Destination.from_environment(experiment)
    if place is None:
        print(UNTRACKED, file=sys.stderr)
        return False
    try:
        _patiently(place, lambda client: record(RunGroup.at(client, place), ledger, bundle), patience)
    except TrackingError as error:
        print(f"netslim: this pass is not in MLflow yet: {error}", file=sys.stderr)
        return False
    return True


def recorded(*, experiment: str, patience: float = PATIENCE) -> RunResults:
    """The passes of this run that MLflow has; none without a server or a key in the environment.

    Raises:
        TrackingError: the server cannot be used, also not after `patience` seconds.
    """
    place = Destination.from_environment(experiment)
    if place is None:
        return RunResults()

    def read(client: MlflowClient) -> RunResults:
        family = find_run_group(client, place)
        return ledger_of(family) if family else RunResults()

    return _patiently(place, read, patience)


def close_run(
    *, experiment: str, failed: bool, files: Mapping[str, bytes], patience: float = PATIENCE
) -> None:
    """End the run as FINISHED or FAILED, with `files` (a report, plots) among its artifacts.

    Raises:
        TrackingError: the server cannot be used, also not after `patience` seconds.
    """
    place = Destination.from_environment(experiment)
    if place is None:
        print(UNTRACKED, file=sys.stderr)
        return
    _patiently(place, lambda client: close(RunGroup.at(client, place), failed=failed, files=files), patience)


def register_run(ledger: RunResults, *, experiment: str, patience: float = PATIENCE) -> str | None:
    """Put the run's best model into MLflow's registry (see `netslim.tracking.registry`), once.

    Returns:
        How to load it; None when there is nothing to register, or no server or key in the environment.

    Raises:
        TrackingError: the server cannot be used, also not after `patience` seconds.
    """
    place = Destination.from_environment(experiment)
    if place is None or not ledger.rows:
        return None
    return _patiently(
        place, lambda client: register(RunGroup.at(client, place), ledger, experiment), patience
    )


def _patiently(place: Destination, act: Callable[[MlflowClient], T], patience: float) -> T:
    """Act, and try again with growing pauses while the server refuses. Whatever acts here may act twice."""
    deadline, pause = time.monotonic() + patience, 1.0
    while True:
        try:
            with mlflow_at(place.uri, retries=1) as client:
                return act(client)
        except TrackingError:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 2
