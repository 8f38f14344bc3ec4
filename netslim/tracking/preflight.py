"""Check before the first step that a run can be recorded."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netslim.errors import NetslimError, TrackingError
from netslim.tracking.client import connect, ensure_experiment
from netslim.tracking.destination import URI, Destination, artifact_location, sqlite_file, without_password
from netslim.tracking.mlflow_errors import Diagnosis, diagnose, is_of_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["check_tracking_server"]


def check_tracking_server(uri: str, experiment: str = "") -> None:
    """Connect to the server, or make the database, at `uri`; then write an artifact and remove it.

    Takes less than twenty seconds, also when the server is down or does not answer. The artifact is written
    because a server that cannot write to its store answers every other request well.

    Args:
        experiment: the experiment in which the run will be recorded; made if it does not exist, because
            MLflow gives each experiment its folder for artifacts. Empty: MLflow's first experiment is used.

    Raises:
        TrackingError: the server, the database or its artifact store cannot be used.
    """
    Destination(uri, experiment, "preflight")  # refuses addresses that MLflow cannot use
    with connect(uri, retries=1, timeout=5) as client:
        if location := _artifact_location(client, uri, experiment):
            _try_to_write(location, uri)


def _artifact_location(client: MlflowClient, uri: str, experiment: str) -> str | None:
    """Where artifacts will be written; None when only an experiment of the server would show it."""
    if experiment:
        return str(client.get_experiment(ensure_experiment(client, uri, experiment)).artifact_location)
    first = client.get_experiment_by_name("Default")
    if sqlite_file(uri):
        return artifact_location(uri, "")
    # A folder may be of a time when the server had no --artifacts-destination, and is then not used any more.
    served = first and urlsplit(first.artifact_location).scheme not in ("", "file")
    return str(first.artifact_location) if served else None


def _try_to_write(location: str, uri: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        store = get_artifact_repository(location, tracking_uri=uri)
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder, f"netslim-probe-{uuid.uuid4().hex}")
            probe.write_text("netslim wrote this file as a test. It may be removed.\n", encoding="utf-8")
            store.log_artifact(str(probe))
        store.delete_artifacts(probe.name)
    except NetslimError:
        raise
    except Exception as error:
        if not is_of_mlflow(error):
            raise
        problem, remedy = _of_store(uri, location, error)
        raise TrackingError(problem, field=URI, value=without_password(uri), remedy=remedy) from error


def _of_store(uri: str, location: str, error: Exception) -> Diagnosis:
    problem = f"runs can be recorded, but no artifacts in {without_password(location)}"
    if sqlite_file(uri):
        reason = error.strerror if isinstance(error, OSError) else diagnose(uri, error).problem
        return Diagnosis(f"{problem} ({reason})", "Make that a folder you may write to")
    reason = diagnose(uri, error).problem
    if "cannot be reached" in reason:  # it was, a moment ago
        reason = "it closed the connection, or waited too long, when it wrote there"
    return Diagnosis(
        f"{problem}: the server has no store that works ({reason})",
        "Check on the server: --artifacts-destination, and the address and the keys of its store "
        "(AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY); in a cluster `netslim doctor "
        "--host` checks the name in the address",
    )
