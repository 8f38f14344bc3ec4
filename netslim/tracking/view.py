"""The one address, or the one command, that shows a run in MLflow."""

from __future__ import annotations

from netslim.tracking.place import shown, sqlite_file

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
    return f"mlflow ui --backend-store-uri {uri}\n{link(LOCAL, experiment_id, run_id)}"
