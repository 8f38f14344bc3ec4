"""How to open a run in MLflow's user interface: its address, and for a database the command before it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from netslim.tracking.destination import sqlite_file, without_password

__all__ = ["how_to_view", "run_page"]

LOCAL_UI = "http://127.0.0.1:5000"


def run_page(server: str, experiment_id: str, run_id: str) -> str:
    """The address of the page with the run's metrics.

    MLflow 3 opens its pages for language models unless the address has `workflowType`.
    """
    base = without_password(server).rstrip("/")
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}/model-metrics?workflowType=machine_learning"


def how_to_view(uri: str, experiment_id: str, run_id: str) -> str:
    """The address to open. For a SQLite database two lines: the command that serves it, then the address."""
    if sqlite_file(uri) is None:
        return run_page(uri, experiment_id, run_id)
    return f"{_mlflow_command()} ui --backend-store-uri {uri}\n{run_page(LOCAL_UI, experiment_id, run_id)}"


def _mlflow_command() -> str:
    """The path of the `mlflow` program beside this Python, relative to the working directory if it is below.

    The first `mlflow` on PATH may be missing, or older than the database.
    """
    ours, working_directory = Path(sys.executable).with_name("mlflow"), Path.cwd()
    on_path = shutil.which("mlflow")
    if not ours.exists() or (on_path and Path(on_path).samefile(ours)):
        return "mlflow"
    return str(ours.relative_to(working_directory) if ours.is_relative_to(working_directory) else ours)
