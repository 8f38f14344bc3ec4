"""What steps call: record a pass, close the run. They find server and run in the environment."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from netslim.errors import TrackingError
from netslim.ledger import Ledger
from netslim.tracking.client import mlflow_at
from netslim.tracking.place import KEY, URI, Place
from netslim.tracking.reading import read_run
from netslim.tracking.record import close, record
from netslim.tracking.runs import Family, find_family

__all__ = ["close_run", "log_pass", "recorded"]

UNTRACKED = f"netslim: not recorded in MLflow; set {URI} and {KEY} for that"


def log_pass(ledger: Ledger, *, experiment: str, model: Path | None = None, patience: float = 30.0) -> bool:
    """Bring the ledger's rows that MLflow does not have yet, and the last row's ONNX file, to MLflow.

    A server that is away does not stop the pipeline: after `patience` seconds a warning is printed, and the
    next pass brings this one too, because its ledger holds both.

    Returns:
        Whether everything is there. Without a server or a key in the environment nothing is, which it says.
    """
    place = Place.from_environment(experiment)
    if place is None:
        print(UNTRACKED, file=sys.stderr)
        return False
    deadline, pause = time.monotonic() + patience, 1.0
    while True:
        try:
            with mlflow_at(place.uri, retries=1) as client:  # patience is this loop's
                record(Family.at(client, place), ledger, model)
            return True
        except TrackingError as error:
            if time.monotonic() + pause > deadline:
                print(f"netslim: this pass is not in MLflow yet: {error}", file=sys.stderr)
                return False
            time.sleep(pause)
            pause *= 2


def recorded(*, experiment: str) -> Ledger:
    """What MLflow has of this run so far; empty when no pass got there, or when nothing is tracked.

    Raises:
        TrackingError: the server cannot be used.
    """
    place = Place.from_environment(experiment)
    if place is None:
        return Ledger()
    with mlflow_at(place.uri) as client:
        known = find_family(client, place) is not None
    return read_run(place.uri, experiment, place.key).ledger if known else Ledger()


def close_run(*, experiment: str, failed: bool, files: Mapping[str, bytes]) -> None:
    """End the run as FINISHED or FAILED, with `files` (a report, plots) among its artifacts.

    Raises:
        TrackingError: the server cannot be used.
    """
    place = Place.from_environment(experiment)
    if place is None:
        print(UNTRACKED, file=sys.stderr)
        return
    with mlflow_at(place.uri) as client:
        close(Family.at(client, place), failed=failed, files=files)
