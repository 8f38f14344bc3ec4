"""Runs in MLflow. This is the only package that imports mlflow, and it does so on first use.

Steps take the server and the run from environment variables. They are not inputs of steps: the key of a run
among the inputs would make every cached step run again.

    MLFLOW_TRACKING_URI               the server or database
    NETSLIM_RUN_KEY, or KFP_RUN_ID    the key of the run: a retried step finds the same MLflow run
    NETSLIM_RUN_NAME                  the name of the run in MLflow; by default KFP's name of the run
    NETSLIM_JOURNAL                   the folder for what the server does not accept

In MLflow: an experiment netslim/<dataset>; in it a parent run for each pipeline run, with the constants as
params and metrics at step = pass; below it a child run for each pass, with training curves at step = epoch,
its model and its PassResult. `names.py` and `metrics.py` list the names.
"""

from __future__ import annotations

from netslim.tracking.api import PATIENCE, Logged, close_run, log_pass, mark_killed, run_state
from netslim.tracking.destination import default_uri, run_key, run_name
from netslim.tracking.journal import JOURNAL, journal_of, kept_by_this_run, kept_results
from netslim.tracking.live_curves import live_curves
from netslim.tracking.preflight import check_tracking_server
from netslim.tracking.read import RecordedRun, RunState, download, read_run
from netslim.tracking.sync import Synced, pending, sync

__all__ = [
    "JOURNAL",
    "PATIENCE",
    "Logged",
    "RecordedRun",
    "RunState",
    "Synced",
    "check_tracking_server",
    "close_run",
    "default_uri",
    "download",
    "journal_of",
    "kept_by_this_run",
    "kept_results",
    "live_curves",
    "log_pass",
    "mark_killed",
    "pending",
    "read_run",
    "run_key",
    "run_name",
    "run_state",
    "sync",
]
