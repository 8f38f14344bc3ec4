"""How a pipeline ended, for the step `finish`: from KFP's status, the events of a local run, and KFP's API.

KFP's status has a state and no reason, and the state FAILED is the only one that means the same everywhere: a
backend does not set it after a time limit, a cancellation or a kill. So the reason is looked up.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from netslim.progress import reported_errors
from netslim.results.ending import Ending
from netslim_kfp.components.argo.causes import cause_of
from netslim_kfp.components.argo.workflow import Step, steps_of

__all__ = ["failure_of_run", "run_ending"]

SECONDS = 5  # for each answer of KFP's API
TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # where KFP's guide mounts the token of a pod


def run_ending(status: Any) -> Ending:
    """The ending of a run whose results do not say that it ended.

    Args:
        status: KFP's PipelineTaskFinalStatus of the steps before.
    """
    if errors := reported_errors():
        step, message = errors[0]
        return Ending(status="FAILED", step=step, cause="an error", message=message)
    run_id = os.environ.get("KFP_RUN_ID")
    if run_id and (found := failure_of_run(run_id)):
        return found
    message = str(getattr(status, "error_message", None) or "")
    return Ending(status="FAILED" if status.state == "FAILED" else "KILLED", message=message)


def failure_of_run(run_id: str) -> Ending | None:
    """The step that ended a run on a KFP backend, and why.

    None where no step failed, or where KFP's API cannot be reached from this pod, as behind a login.
    """
    try:
        run = json.loads(_get(f"/apis/v1beta1/runs/{run_id}"))
        workflow = json.loads(run["pipeline_runtime"]["workflow_manifest"])
        canceled = _is_canceled(workflow)
        failed = [step for step in steps_of(workflow) if step.state == "failed"]
        if not failed:
            return Ending(status="KILLED", cause="canceled") if canceled else None
        step = failed[0]
        cause = cause_of(step, "" if canceled else _log(run_id, step), canceled=canceled)
        title = _titles(workflow).get(step.task) or step.task
    except (OSError, HTTPException, KeyError, TypeError, ValueError) as error:
        print(f"netslim: KFP's API does not say why the run ended ({type(error).__name__})", flush=True)
        return None
    stopped = cause.word == "canceled"
    return Ending(
        status="KILLED" if stopped else "FAILED",
        step=title,
        cause=cause.word,
        message="" if stopped else cause.detail,
    )


def _is_canceled(workflow: Mapping[str, Any]) -> bool:
    """KFP cancels a run by a deadline of 0 seconds for the whole Workflow, which nothing else sets."""
    nodes = (workflow.get("status", {}).get("nodes") or {}).values()
    stopped = any("workflow deadline" in (node.get("message") or "") for node in nodes)
    return stopped or workflow.get("spec", {}).get("activeDeadlineSeconds") == 0


def _titles(workflow: Mapping[str, Any]) -> dict[str, str]:
    """The titles of the steps by their tasks: each driver of a step gets the step's task as JSON text."""
    titles: dict[str, str] = {}
    for template in workflow.get("spec", {}).get("templates", ()):
        for task in template.get("dag", {}).get("tasks", ()):
            for parameter in task.get("arguments", {}).get("parameters", ()):
                if parameter.get("name") == "task":
                    title = json.loads(parameter["value"]).get("taskInfo", {}).get("name", "")
                    titles[str(task["name"]).removesuffix("-driver")] = title
    return titles


def _log(run_id: str, step: Step) -> str:
    """The log of the step's newest pod; empty where the API has none."""
    for name in (step.pod, step.node):
        try:
            if name and (text := _get(f"/apis/v1alpha1/runs/{run_id}/nodes/{name}/log")):
                return text
        except (OSError, HTTPException):
            continue
    return ""


def _get(path: str) -> str:
    headers = {"Authorization": f"Bearer {TOKEN.read_text().strip()}"} if TOKEN.is_file() else {}
    request = urllib.request.Request(_address() + path, headers=headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return str(answer.read().decode(errors="replace"))


def _address() -> str:
    """KFP's API inside of a cluster. Kubernetes sets the first two variables in KFP's own namespace."""
    if given := os.environ.get("KF_PIPELINES_ENDPOINT"):
        return given.rstrip("/")
    if host := os.environ.get("ML_PIPELINE_SERVICE_HOST"):
        return f"http://{host}:{os.environ.get('ML_PIPELINE_SERVICE_PORT', '8888')}"
    return "http://ml-pipeline.kubeflow:8888"
