"""Runs in MLflow. This package is the only one that imports mlflow, and only when it is asked for something.

Steps find server and run in the environment, never in their inputs, because a run's identity among the inputs
would make every cached step run again:

    MLFLOW_TRACKING_URI               the server or database
    NETSLIM_RUN_KEY, or KFP_RUN_ID    the pipeline run; one key is one parent run, however often steps retry

Layout: experiment netslim/<dataset>; a parent per pipeline run, with constants as params and metrics at
step = pass; a child per pass, with training curves at step = epoch, its model, and its row of the ledger.
"""

from __future__ import annotations

from netslim.tracking.api import close_run, log_pass, recorded, register_run
from netslim.tracking.destination import default_uri, run_key
from netslim.tracking.live_curves import live_curves
from netslim.tracking.preflight import preflight
from netslim.tracking.read import Found, download, read_run

__all__ = [
    "Found",
    "close_run",
    "default_uri",
    "download",
    "live_curves",
    "log_pass",
    "preflight",
    "read_run",
    "recorded",
    "register_run",
    "run_key",
]
