"""Where a run is recorded: the tracking server or database, the experiment, and the key of the run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from netslim.errors import TrackingError

__all__ = [
    "EXPERIMENT",
    "KEY",
    "KFP_RUN",
    "NAME",
    "URI",
    "Destination",
    "artifact_location",
    "default_uri",
    "kfp_run_url",
    "run_key",
    "run_name",
    "sqlite_file",
    "without_password",
]

URI = "MLFLOW_TRACKING_URI"
KEY = "NETSLIM_RUN_KEY"
NAME = "NETSLIM_RUN_NAME"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
KFP_RUN, KFP_UI = "KFP_RUN_ID", "KF_PIPELINES_UI_ENDPOINT"


@dataclass(frozen=True)
class Destination:
    """One pipeline run on one tracking server.

    Args:
        uri: an http(s) address, or a database such as sqlite:////absolute/path/mlflow.db.
        experiment: MLflow's experiment. Empty: an existing run is searched in every experiment, and no new
            run can be made.
        key: identifies the run; the value of a tag in MLflow.

    Raises:
        TrackingError: MLflow cannot use the URI, or the key has characters that a tag filter cannot hold.
    """

    uri: str
    experiment: str
    key: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.:-]{1,200}", self.key):
            remedy = "Use letters, digits, dot, colon, dash and underscore, 200 characters at most"
            raise TrackingError("not a usable run key", field=KEY, value=self.key, remedy=remedy)
        in_memory = self.uri.removeprefix("sqlite://").strip("/") in ("", ":memory:")
        if in_memory or urlsplit(self.uri).scheme in ("", "file"):
            remedy = "Set http://host:port or sqlite:////absolute/path/mlflow.db"
            raise TrackingError("MLflow cannot keep runs there", field=URI, value=self.uri, remedy=remedy)

    @classmethod
    def from_environment(cls, experiment: str = "") -> Destination | None:
        """The destination in the environment variables; None when they lack the server or the run key."""
        uri, key = os.environ.get(URI), run_key()
        return cls(uri, experiment or os.environ.get(EXPERIMENT, ""), key) if uri and key else None


def run_key() -> str | None:
    """The key of this pipeline run: NETSLIM_RUN_KEY, or on a cluster KFP_RUN_ID; None when neither is set."""
    return os.environ.get(KEY) or os.environ.get(KFP_RUN) or None


def run_name(otherwise: str = "") -> str:
    """The name of this pipeline run in MLflow: NETSLIM_RUN_NAME, or `otherwise` where it is not set."""
    return os.environ.get(NAME) or otherwise


def kfp_run_url(run_id: str) -> str:
    """The page of a run in KFP's user interface; empty where KF_PIPELINES_UI_ENDPOINT is not set."""
    address = os.environ.get(KFP_UI, "").rstrip("/")
    return f"{address}/#/runs/details/{run_id}" if address and run_id else ""


def default_uri(folder: str | os.PathLike[str]) -> str:
    """The URI of the SQLite database in `folder`, with an absolute path.

    The same database is opened from every working directory.
    """
    return f"sqlite:///{Path(folder).absolute() / 'mlflow.db'}"


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite URI; None for every other URI."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """The folder for artifacts of a new experiment: for SQLite beside the database, else None.

    None leaves the choice to the server. For SQLite MLflow's own default is a folder below the working
    directory of the process that makes the experiment.
    """
    file = sqlite_file(uri)
    return (file.parent / "mlartifacts" / experiment.replace("/", "-")).as_uri() if file else None


def without_password(uri: str) -> str:
    """The URI without its user name and password, for messages."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri
