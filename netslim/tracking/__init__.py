"""Runs in MLflow. This is the only package that imports mlflow, and it does so on first use.

Steps take the server and the run from environment variables. They are not inputs of steps: the key of a run
among the inputs would make every cached step run again.

    MLFLOW_TRACKING_URI               the server or database
    NETSLIM_RUN_KEY, or KFP_RUN_ID    the key of the run: a retried step finds the same MLflow run

In MLflow: an experiment netslim/<dataset>; in it a parent run for each pipeline run, with the constants as
params and metrics at step = pass; below it a child run for each pass, with training curves at step = epoch,
its model and its PassResult. `names.py` and `metrics.py` list the names.
"""

from __future__ import annotations

from netslim.tracking.api import close_run, log_pass, recorded_results, register_run
from netslim.tracking.destination import default_uri, run_key
from netslim.tracking.live_curves import live_curves
from netslim.tracking.preflight import check_tracking_server
from netslim.tracking.read import RecordedRun, download, read_run

__all__ = [
    "RecordedRun",
    "check_tracking_server",
    "close_run",
    "default_uri",
    "download",
    "live_curves",
    "log_pass",
    "read_run",
    "recorded_results",
    "register_run",
    "run_key",
]
