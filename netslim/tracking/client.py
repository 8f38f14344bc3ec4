"""A connection to MLflow that starts safely, gives up soon, and says what is wrong in one sentence."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from netslim.errors import NetslimError, TrackingError, first_line
from netslim.storage.atomic import storage_errors
from netslim.tracking.destination import URI, artifact_location, shown, sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["alone", "ensure_experiment", "mlflow_at"]

DEFAULTS = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",  # it would ask a package index
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server with an S3 store offers presigned addresses of it, which often only pods can reach. The client
    # decides: the server has no setting for it. Without them the server sends the files itself.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
}
FOREIGN = {"azure", "boto3", "botocore", "google", "mlflow", "requests", "sqlalchemy", "urllib3"}


@contextmanager
def mlflow_at(
    uri: str, *, create: bool = True, retries: int = 2, timeout: int = 15
) -> Iterator[MlflowClient]:
    """A client of the server or database at `uri`, for the length of a `with` block.

    Args:
        create: make the SQLite database when it is not there yet.
        retries, timeout: how patient to be with each request, in seconds. MLflow's own defaults would block
            for four minutes; what the user has set in MLFLOW_HTTP_REQUEST_* wins.

    Raises:
        TrackingError: it is not there, or something that was asked of it failed.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    file = sqlite_file(uri)
    if file and not file.exists():
        if not create:
            remedy = "Run `netslim run` first, or name another --tracking-uri or --output"
            raise TrackingError("nothing has been recorded here", field=URI, value=shown(uri), remedy=remedy)
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
    with _refusals(uri), _limits(retries, timeout):
        yield _client(uri)


def _client(uri: str) -> MlflowClient:
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError("MLflow is not installed", remedy="pip install 'netslim[tracking]'")
    with alone(uri), _quiet_migration():
        from mlflow import MlflowClient

        return MlflowClient(uri)


@contextmanager
def _limits(retries: int, timeout: int) -> Iterator[None]:
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries, "MLFLOW_HTTP_REQUEST_TIMEOUT": timeout}
    added = {name: str(value) for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """One process at a time for a SQLite database: two that create its tables at once leave it unusable."""
    import fcntl

    file = sqlite_file(uri)
    if file is None:
        yield
        return
    with storage_errors(file), open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet_migration() -> Iterator[None]:
    """MLflow tells each of the fifty migrations of a new database."""
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
    """Find or make the experiment and return its id; safe when several processes do so at once.

    Raises:
        TrackingError: the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(uri, name)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found.lifecycle_stage == "deleted":
        remedy = (
            f"Restore it with `mlflow experiments restore -x {found.experiment_id}`, or choose another name"
        )
        raise TrackingError("was deleted in MLflow", field="experiment", value=name, remedy=remedy)
    return str(found.experiment_id)


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    """Turn what MLflow, its HTTP client, its database and its artifact stores raise into a TrackingError."""
    try:
        yield
    except NetslimError:
        raise
    except Exception as error:
        # There is no common base: artifacts alone may raise the exceptions of three clouds.
        if type(error).__module__.partition(".")[0] not in FOREIGN and not isinstance(error, OSError):
            raise
        problem, remedy = _diagnosis(uri, str(error))
        raise TrackingError(problem, field=URI, value=shown(uri), remedy=remedy) from error


def _diagnosis(uri: str, told: str) -> tuple[str, str]:
    host = urlsplit(uri).netloc.rpartition("@")[2]
    if "DNS rebinding" in told or "Invalid Host" in told:
        name = host.partition(":")[0]
        return (
            f"the server does not answer to the host name {host} (403)",
            f"Start it with `mlflow server --allowed-hosts {name},{host},localhost:*`",
        )
    if "error code 401" in told or "error code 403" in told:
        remedy = "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return "the server refuses these credentials", remedy
    if host and ("Max retries exceeded" in told or "Connection" in told):
        reason = next((r for r in ("refused", "timed out", "resolve") if r in told), "no connection")
        told_as = {"resolve": "its host name is unknown", "refused": "connection refused"}.get(reason, reason)
        remedy = "Start the server or correct the address; without one netslim records in SQLite"
        return f"the server cannot be reached ({told_as})", remedy
    if "database is locked" in told:
        return (
            "the database is locked by another process",
            "Use `mlflow server` when several steps write at once",
        )
    remedy = "The server's log says more" if host else "Check the database file"
    return f"MLflow failed ({first_line(told)})", remedy
