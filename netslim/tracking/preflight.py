"""Whether a run could be recorded, found out before the first step starts."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netslim.errors import NetslimError, TrackingError, first_line
from netslim.tracking.client import ensure_experiment, mlflow_at
from netslim.tracking.destination import URI, Destination, artifact_location, shown, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["preflight"]


def preflight(uri: str, experiment: str = "") -> None:
    """Reach the server or make the database at `uri`, then write an artifact and remove it.

    Takes under twenty seconds also when the server is away or hangs.

    Args:
        experiment: where the run will be recorded; made if it is not there, because only an experiment knows
            where its artifacts go. Without it MLflow's first experiment stands in.

    Raises:
        TrackingError: what is wrong and what to do about it. Artifacts are tried because a server that cannot
            write them answers every other question well.
    """
    Destination(uri, experiment, "preflight")  # refuses what MLflow cannot use
    with mlflow_at(uri, retries=1, timeout=5) as client:
        if place := _artifacts(client, uri, experiment):
            _try_artifacts(place, uri)


def _artifacts(client: MlflowClient, uri: str, experiment: str) -> str | None:
    """Where artifacts will go; None when that cannot be known."""
    if experiment:
        return str(client.get_experiment(ensure_experiment(client, uri, experiment)).artifact_location)
    first = client.get_experiment_by_name("Default")
    if sqlite_file(uri):
        return artifact_location(uri, "")
    # It may name a folder from before the server had --artifacts-destination, which says nothing of today.
    served = first and urlsplit(first.artifact_location).scheme not in ("", "file")
    return str(first.artifact_location) if served else None


def _try_artifacts(place: str, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        store = get_artifact_repository(place, tracking_uri=uri)
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, f"netslim-probe-{uuid.uuid4().hex}")
            probe.write_text("This file may be removed.\n", encoding="utf-8")
            store.log_artifact(str(probe))
        store.delete_artifacts(probe.name)
    except NetslimError:
        raise
    except Exception as error:  # of whatever store the server names
        problem = f"runs can be recorded, but no artifacts in {shown(place)} ({first_line(error)})"
        remedy = "Start the server with --artifacts-destination, and give it the credentials, not the steps"
        if sqlite_file(uri):
            remedy = "Make that a folder you may write to"
        raise TrackingError(problem, field=URI, value=shown(uri), remedy=remedy) from error
