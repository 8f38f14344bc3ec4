"""The tags, params and files that netslim writes to MLflow. Those of 0.1.0 under other names are still read.

The names of metrics are in `netslim.tracking.metrics`; they are those of 0.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BEST_TAG",
    "CAUSE_TAG",
    "ENDING_TAGS",
    "KEY_TAG",
    "KFP_RUNS_TAG",
    "KFP_RUN_TAG",
    "KFP_URL_TAG",
    "MESSAGE_TAG",
    "MODEL_TAG",
    "PARENT_TAG",
    "PASS_FILE",
    "RECORDED_TAG",
    "REGISTERED_TAG",
    "REPORT_FILE",
    "RUN_TAG",
    "STEP_TAG",
    "VERSION_TAG",
    "pass_file",
]

# On runs.
RUN_TAG = "netslim.run"  # on the parent and on all children: the key of the pipeline run
KEY_TAG = "netslim.key"  # on the parent the same key, on a child and its model key/pass-01
PARENT_TAG = "mlflow.parentRunId"
VERSION_TAG = "netslim.version"
MODEL_TAG = "netslim.model"  # on a child: the SHA-256 of its ONNX file and the id of the MLflow model with it
RECORDED_TAG = "netslim.recorded"  # on a child: the digest of its PassResult; set when all of it is written
# On the parent. KFP's own MLflow plugin has tags of the same names for the id and the address.
KFP_RUN_TAG, KFP_URL_TAG = "kfp.pipeline_run_id", "kfp.pipeline_run_url"
KFP_RUNS_TAG = "netslim.kfp_runs"  # of a run that was submitted again: the ids of all its runs in KFP
BEST_TAG = "netslim.best"  # the child whose model is the one to take
REGISTERED_TAG = "netslim.registered"  # models:/<name>/<version>
STEP_TAG, CAUSE_TAG, MESSAGE_TAG = "netslim.failed_step", "netslim.failure", "netslim.failure_message"
ENDING_TAGS = (STEP_TAG, CAUSE_TAG, MESSAGE_TAG)  # of a run that did not end by its own results

PASS_FILE = "pass.json"  # an artifact of a child: its PassResult
REPORT_FILE = "report.html"  # an artifact of the parent

_PASS_FILES = {RECORDED_TAG: PASS_FILE, "netslim.delivered": "row.json"}  # the second pair is of 0.1.0


def pass_file(tags: Mapping[str, str]) -> str | None:
    """The artifact with the PassResult of the child with these tags; None when its pass is not complete."""
    return next((file for tag, file in _PASS_FILES.items() if tag in tags), None)
