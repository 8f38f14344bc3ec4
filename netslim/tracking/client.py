"""A connection to an MLflow server or database: short time limits, safe start of a new database."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from netslim.errors import TrackingError
from netslim.storage.atomic import storage_errors
from netslim.tracking.destination import URI, artifact_location, sqlite_file, without_password
from netslim.tracking.mlflow_errors import tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["connect", "database_lock", "ensure_experiment", "time_to_store"]

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",  # the check asks a package index
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
SLOWEST_STORE = 2 << 20  # bytes per second
THROUGH_THE_SERVER = {
    # A server with an S3 store offers presigned addresses of the store, for every download and for uploads
    # of 500 MB or more. Often only pods can reach that store. Only the client has a setting for this.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}


@contextmanager
def connect(uri: str, *, create: bool = True, retries: int = 2, timeout: int = 15) -> Iterator[MlflowClient]:
    """A client of the server or database at `uri`, for the length of a `with` block.

    Every exception of MLflow in the block becomes a TrackingError. Environment variables that MLflow reads
    are set for the length of the block, unless the user has set them.

    Args:
        create: make the SQLite database when it does not exist.
        retries: how often MLflow repeats a failed request.
        timeout: seconds without an answer after which a request fails. With MLflow's own defaults a server
            that is down blocks for four minutes.

    Raises:
        TrackingError: the server or database cannot be used, or a request failed.
    """
    file = sqlite_file(uri)
    if file and not file.exists():
        if not create:
            remedy = "Run `netslim run` first, or name another --tracking-uri or --output"
            raise TrackingError(
                "nothing has been recorded here", field=URI, value=without_password(uri), remedy=remedy
            )
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries), TIMEOUT: str(timeout)}
    with tracking_errors(uri), _environment(QUIET | THROUGH_THE_SERVER | limits):
        yield _client(uri)


def _client(uri: str) -> MlflowClient:
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError("MLflow is not installed", remedy="Run: pip install 'netslim[tracking]'")
    with database_lock(uri), _without_migration_log():
        from mlflow import MlflowClient

        return MlflowClient(uri)


@contextmanager
def time_to_store(largest_file: int) -> Iterator[None]:
    """Allow more seconds for answers in a `with` block that uploads files; for use inside of `connect`.

    A server answers an upload after it has sent the file to its own store: 520 MB to an S3 store took 45 s,
    where `connect` allows 15. The user's own MLFLOW_HTTP_REQUEST_TIMEOUT is left alone.

    Args:
        largest_file: in bytes; each file is one request.
    """
    current = os.environ.get(TIMEOUT, "")
    seconds = largest_file // SLOWEST_STORE
    if TIMEOUT not in _set_here or seconds <= int(current):
        yield
        return
    os.environ[TIMEOUT] = str(seconds)
    try:
        yield
    finally:
        os.environ[TIMEOUT] = current


_set_here: set[str] = set()
"""The environment variables that are set by `_environment` at the moment, and not by the user."""


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set those of `defaults` that the environment lacks, and remove them again after the block."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    _set_here.update(added)
    try:
        yield
    finally:
        _set_here.difference_update(added)
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def database_lock(uri: str) -> Iterator[None]:
    """Let one process at a time into a SQLite database; for a server this does nothing.

    Two processes that create the tables of a new database at once leave it unusable.
    """
    import fcntl

    file = sqlite_file(uri)
    if file is None:
        yield
        return
    with storage_errors(file), open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _without_migration_log() -> Iterator[None]:
    """Keep the fifty log lines of MLflow away that report the migrations of a new database."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
    levels = [logger.level for logger in loggers]
    import mlflow  # noqa: F401 - importing it sets levels of its own

    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def ensure_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Find or make the experiment `name` and return its id; several processes may do so at once.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(uri, name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process was faster
    if experiment.lifecycle_stage == "deleted":
        remedy = (
            f"Restore it with `mlflow experiments restore -x {experiment.experiment_id}`, "
            "or choose another name"
        )
        raise TrackingError("was deleted in MLflow", field="experiment", value=name, remedy=remedy)
    return str(experiment.experiment_id)
