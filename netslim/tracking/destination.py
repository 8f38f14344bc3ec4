"""Where a run is recorded: the server or database, the experiment, and the key that names the run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from netslim.errors import TrackingError

__all__ = ["KEY", "URI", "Destination", "default_uri", "run_key", "shown", "sqlite_file"]

URI = "MLFLOW_TRACKING_URI"
KEY = "NETSLIM_RUN_KEY"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"


@dataclass(frozen=True)
class Destination:
    """Which run of which server. An empty experiment finds a run that exists, and makes none.

    Raises:
        TrackingError: MLflow cannot use the URI, or the key would not survive as a tag.
    """

    uri: str
    experiment: str
    key: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.:-]{1,200}", self.key):
            remedy = "Use letters, digits, dot, colon, dash and underscore"
            raise TrackingError("no usable run key", field=KEY, value=self.key, remedy=remedy)
        memory = self.uri.removeprefix("sqlite://").strip("/") in ("", ":memory:")
        if memory or urlsplit(self.uri).scheme in ("", "file"):
            remedy = "Give http://host:port or sqlite:////absolute/path/mlflow.db"
            raise TrackingError("MLflow cannot keep runs there", field=URI, value=self.uri, remedy=remedy)

    @classmethod
    def from_environment(cls, experiment: str = "") -> Destination | None:
        """The place that the environment names, or None when it names no server or no run."""
        uri, key = os.environ.get(URI), run_key()
        return cls(uri, experiment or os.environ.get(EXPERIMENT, ""), key) if uri and key else None


def run_key() -> str | None:
    """What identifies this pipeline run: NETSLIM_RUN_KEY, or on a cluster KFP_RUN_ID."""
    return os.environ.get(KEY) or os.environ.get("KFP_RUN_ID") or None


def default_uri(folder: str | os.PathLike[str]) -> str:
    """SQLite in `folder`, by its absolute path: the same database from whichever folder it is opened."""
    return f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where artifacts go: for SQLite beside the database, else where the server puts them (None).

    Without this MLflow would put them under whatever folder the first step happened to run in.
    """
    file = sqlite_file(uri)
    return (file.parent / "mlartifacts" / experiment.replace("/", "-")).as_uri() if file else None


def shown(uri: str) -> str:
    """The URI without its user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri
