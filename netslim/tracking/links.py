"""The one address, or the one command, that shows a run in MLflow."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from netslim.tracking.destination import shown, sqlite_file

__all__ = ["link", "view"]

LOCAL = "http://127.0.0.1:5000"


def link(server: str, experiment_id: str, run_id: str) -> str:
    """The page of a run's curves; MLflow 3 opens its pages for language models unless told otherwise."""
    base = shown(server).rstrip("/")
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}/model-metrics?workflowType=machine_learning"


def view(uri: str, experiment_id: str, run_id: str) -> str:
    """The address to open; for a database on this machine first the command that serves it."""
    if sqlite_file(uri) is None:
        return link(uri, experiment_id, run_id)
    return f"{_mlflow()} ui --backend-store-uri {uri}\n{link(LOCAL, experiment_id, run_id)}"


def _mlflow() -> str:
    """How to call our MLflow from here; the shell may find none, or one that this database is too new for."""
    own, here = Path(sys.executable).with_name("mlflow"), Path.cwd()
    found = shutil.which("mlflow")
    if not own.exists() or (found and Path(found).samefile(own)):
        return "mlflow"
    return str(own.relative_to(here) if own.is_relative_to(here) else own)
