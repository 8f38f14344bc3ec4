"""Whether a run could be recorded, found out before the first step starts."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.errors import NetslimError, TrackingError
from netslim.tracking.client import mlflow_at
from netslim.tracking.place import URI, Place, artifact_location, shown, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["preflight"]

DEFAULT = "0"  # MLflow's own first experiment: its artifacts lie where every new experiment's will


def preflight(uri: str) -> None:
    """Reach the server or make the database at `uri`, then write an artifact and remove it.

    Takes under twenty seconds also when the server is away or hangs.

    Raises:
        TrackingError: what is wrong and what to do about it. Artifacts are tried because a server that cannot
            write them answers every other question well.
    """
    Place(uri, "", "preflight")  # refuses what MLflow cannot use
    with mlflow_at(uri, retries=1, timeout=5) as client:
        client.search_experiments(max_results=1)
        _try_artifacts(client, uri)


def _try_artifacts(client: MlflowClient, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    place = artifact_location(uri, "") or client.get_experiment(DEFAULT).artifact_location
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
        told = str(error).strip().splitlines() or [type(error).__name__]
        problem = f"runs can be recorded, but no artifacts in {shown(place)} ({told[0]})"
        remedy = (
            "Start the server with --artifacts-destination and its own credentials, so that steps need none"
        )
        if sqlite_file(uri):
            remedy = "Make that a folder you may write to"
        raise TrackingError(problem, field=URI, value=shown(uri), remedy=remedy) from error
