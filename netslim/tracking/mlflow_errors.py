"""Every failure of MLflow as one TrackingError: a plain sentence, and the setting to change.

MLflow raises its own exceptions, those of its HTTP client, of its database, and of the artifact store of any
cloud. They have no common base class, and their messages are chains such as "API request to ... failed with
exception HTTPConnectionPool(...): Max retries exceeded with url: ... (Caused by NewConnectionError(...))".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from netslim.errors import NetslimError, StorageError, TrackingError, first_line
from netslim.tracking.destination import URI, sqlite_file, without_password

__all__ = ["Diagnosis", "diagnose", "is_of_mlflow", "tracking_errors"]

PACKAGES = {"azure", "boto3", "botocore", "google", "mlflow", "requests", "sqlalchemy", "urllib3"}
FULL = "database or disk is full"  # the text of SQLITE_FULL


class Diagnosis(NamedTuple):
    """What is wrong, and what to do about it; both without a final full stop."""

    problem: str
    remedy: str


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Turn the exceptions of MLflow in a `with` block into a TrackingError. Others pass through.

    A full disk under a SQLite database is a StorageError.
    """
    try:
        yield
    except NetslimError:
        raise
    except Exception as error:
        if not is_of_mlflow(error):
            raise
        if FULL in str(error) and (file := sqlite_file(uri)):
            remedy = "Free some space, or choose another --output or --tracking-uri"
            raise StorageError("the disk is full", field=str(file), remedy=remedy) from error
        problem, remedy = diagnose(uri, error)
        raise TrackingError(problem, field=URI, value=without_password(uri), remedy=remedy) from error


def is_of_mlflow(error: Exception) -> bool:
    """Whether MLflow or a library that it uses raised this; any other exception is a mistake of netslim."""
    return type(error).__module__.partition(".")[0] in PACKAGES or isinstance(error, OSError)


def diagnose(uri: str, error: BaseException) -> Diagnosis:
    """The plain sentence for an exception of MLflow, found by the exceptions that caused it."""
    host = urlsplit(uri).netloc.rpartition("@")[2]
    text = str(error)
    if not host:
        return _of_database(text)
    return _of_connection(error) or _of_answer(text, host) or _unknown(text, "See the server's log")


def _of_database(text: str) -> Diagnosis:
    if "database is locked" in text:
        return Diagnosis(
            "the database is locked by another process",
            "Start `mlflow server` and use its address when several steps write at once",
        )
    if "file is not a database" in text:
        return Diagnosis(
            "the file is not a database", "Move it away, or choose another --output or --tracking-uri"
        )
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return Diagnosis(
            "the database was written by another version of MLflow",
            "Install that version, or make a copy of the file and run `mlflow db upgrade` on it",
        )
    return _unknown(text, "Check the database file, or choose another --tracking-uri")


def _of_connection(error: BaseException) -> Diagnosis | None:
    """No answer came: the reason is the type of one of the exceptions behind `error`."""
    causes = list(_causes(error))
    types = {each.__name__ for cause in causes for each in type(cause).__mro__}
    if types & {"NameResolutionError", "gaierror"}:
        return _unreachable("its host name is unknown", "Correct the host name in the address")
    if "ConnectionRefusedError" in types or any("refused" in str(cause) for cause in causes):
        return _unreachable(
            "connection refused", "Start the server, or correct the host and port in the address"
        )
    if "ProxyError" in types:
        return _unreachable("the proxy refused", "Add the server's host to NO_PROXY")
    if "SSLError" in types:
        return _unreachable(
            "no trusted TLS connection",
            "Write http:// if the server has no TLS; else set MLFLOW_TRACKING_SERVER_CERT_PATH to the "
            "certificate of its authority",
        )
    if types & {"ConnectTimeoutError", "ReadTimeoutError", "Timeout", "TimeoutError"}:
        return _unreachable(
            "timed out",
            "Check the address and the network, or allow more seconds in MLFLOW_HTTP_REQUEST_TIMEOUT",
        )
    if types & {"NewConnectionError", "ProtocolError", "ConnectionError"} and "ResponseError" not in types:
        return _unreachable("no connection", "Check the address and the network")
    return None


def _unreachable(reason: str, remedy: str) -> Diagnosis:
    return Diagnosis(f"the server cannot be reached ({reason})", remedy)


def _of_answer(text: str, host: str) -> Diagnosis | None:
    """The server answered with an error."""
    if "DNS rebinding" in text or "Invalid Host" in text:
        name = host.partition(":")[0]
        return Diagnosis(
            f"the server does not accept requests for the host name {host} (403)",
            f"Start it with `mlflow server --allowed-hosts {name},{host},localhost:*`",
        )
    status = _status(text)
    if status in (401, 403):
        return Diagnosis(
            f"the server does not accept these credentials ({status})",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if status == 404:
        return Diagnosis(
            "there is no MLflow server at this address (404)",
            "Set the address that opens MLflow's page in a browser, without what follows `#`",
        )
    if status >= 500:
        return Diagnosis(f"the server failed ({status})", "See the server's log for the reason")
    return None


def _status(text: str) -> int:
    """The HTTP status that MLflow's message names; 0 for none."""
    match = re.search(r"error code (\d{3})\b|too many (\d{3}) error responses|^(\d{3}) \w+ Error", text)
    return int(next(filter(None, match.groups()))) if match else 0


def _unknown(text: str, remedy: str) -> Diagnosis:
    line = first_line(text)
    # A chain of urllib3 is of no use to a reader; the exception behind the TrackingError has it.
    return Diagnosis(f"MLflow failed ({'a request failed' if 'ConnectionPool(' in line else line})", remedy)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all exceptions behind it.

    MLflow raises inside `except` blocks without `from`, requests puts the exception of urllib3 into its
    arguments, and urllib3 puts the cause into `reason`.
    """
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        behind = (cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args)
        waiting += [each for each in behind if isinstance(each, BaseException)]
