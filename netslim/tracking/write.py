"""Write the results of a run to MLflow: only what is missing there, so that a retried step adds nothing.

A metric's point is identified by its name and its step, and the first value that is written stays. A resumed
training and a retried step have points with new timestamps, and MLflow would draw both.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.report.tables import markdown
from netslim.results.best_model import best_model
from netslim.results.ending import Ending
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.tracking.destination import KFP_RUN
from netslim.tracking.logged_models import log_model
from netslim.tracking.metrics import MetricPoint, curve_points, pass_points, result_points
from netslim.tracking.names import (
    BEST_TAG,
    CAUSE_TAG,
    ENDING_TAGS,
    KFP_RUN_TAG,
    KFP_RUNS_TAG,
    MESSAGE_TAG,
    PASS_FILE,
    RECORDED_TAG,
    STEP_TAG,
)
from netslim.tracking.runs import RunGroup

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["add_points", "child_name", "close", "record", "upload"]

NOTE = "mlflow.note.content"  # the description on the run's page
POINTS_PER_REQUEST, PARAMS_PER_REQUEST = 1000, 100  # MLflow's limits
VARIED = {
    "lambda": ("lambda", "sparse/lambda", "sparse/lam", "sparse/total_shrinkage", "sparse/pull"),
    "percent": ("percent", "prune/percent"),
}
"""The constants that differ between the points of a sweep: params of the children, not of the parent."""
MOST_OF_A_MESSAGE = 1000  # characters in a tag


def child_name(result: PassResult) -> str:
    """`pass-01`, or for a point of a sweep its label with dashes."""
    return re.sub(r"[^\w.-]+", "-", result.label) or f"pass-{result.index:02d}"


def record(run_group: RunGroup, results: RunResults, bundle: Path | None = None) -> None:
    """Write every pass that MLflow lacks, and the bundle of the last pass.

    The parent gets the constants as params, the passes as metrics at step = pass, so that its curves run over
    passes, and the values of the model to take as metrics `result/...`. Each child gets the metrics of its
    pass, its training curves at step = epoch, and its model.
    """
    client, parent = run_group.client, run_group.parent()
    _reopen(client, parent)
    if (name := results.origin.get("name")) and parent.info.run_name == run_group.destination.key:
        client.update_run(parent.info.run_id, name=name)  # the run was made by a step without the name
    varied = VARIED.get(results.constants.get("sweep", ""), ())
    constants = results.constants.items()
    _add_params(client, parent, {name: value for name, value in constants if name not in varied})
    for result in results.rows:
        child = run_group.child(child_name(result))
        _add_params(client, child, {name: value for name, value in constants if name in varied})
        is_last = result is results.rows[-1]
        model_id = log_model(client, child, bundle, result) if bundle and is_last else None
        if child.data.tags.get(RECORDED_TAG) != (digest := _digest(result)):
            _record_pass(client, parent, child, results, result, model_id)
            client.set_tag(child.info.run_id, RECORDED_TAG, digest)
        if child.info.status != "FINISHED":  # it runs, or failed in an earlier try
            client.set_terminated(child.info.run_id)
    if best := best_model(results):
        _add_pass_points(client, parent, result_points(results, best))
        client.set_tag(parent.info.run_id, BEST_TAG, child_name(best.result))
    client.set_tag(parent.info.run_id, NOTE, _description(results))


def _reopen(client: MlflowClient, parent: Run) -> None:
    """Set a closed parent to RUNNING: its pipeline is being run again, and will close it.

    A run that KFP retries keeps its status until it ends by its own results. KFP does not run `finish` again,
    so after a second failure the run would be RUNNING for ever.
    """
    kfp_run, before = os.environ.get(KFP_RUN, ""), parent.data.tags.get(KFP_RUN_TAG, "")
    if parent.info.status != "RUNNING" and not (kfp_run and kfp_run == before):
        client.update_run(parent.info.run_id, status="RUNNING")
    _name_kfp_run(client, parent)


def _name_kfp_run(client: MlflowClient, parent: Run) -> None:
    """Write the id of the run in KFP, which is a new one where it was submitted again with the same key."""
    kfp_run, before = os.environ.get(KFP_RUN, ""), parent.data.tags.get(KFP_RUN_TAG, "")
    if kfp_run and kfp_run != before:
        earlier = parent.data.tags.get(KFP_RUNS_TAG, before)
        client.set_tag(parent.info.run_id, KFP_RUNS_TAG, f"{earlier} {kfp_run}".strip())
        client.set_tag(parent.info.run_id, KFP_RUN_TAG, kfp_run)


def _description(results: RunResults, ending: Ending | None = None) -> str:
    """The table over passes, with the model to take, or with the reason of a run that was not finished."""
    if ending is not None and ending.sentence:
        return f"{ending.sentence}\n\n{markdown(results)}" if results.rows else ending.sentence
    best = best_model(results)
    return f"{markdown(results)}\n\n{best.sentence}" if best else markdown(results)


def _record_pass(
    client: MlflowClient,
    parent: Run,
    child: Run,
    results: RunResults,
    result: PassResult,
    model_id: str | None,
) -> None:
    points = pass_points(results, result)
    if not result.label:
        _add_pass_points(client, parent, points)
    _add_pass_points(client, child, points, model_id)
    curves = [point for stage, curve in result.curves.items() for point in curve_points(stage, curve)]
    add_points(client, child, curves)
    upload(client, child, {PASS_FILE: json.dumps(result.to_json(), indent=1).encode()})


def close(
    run_group: RunGroup, ending: Ending, files: Mapping[str, bytes], results: RunResults | None = None
) -> None:
    """End the parent, and the children that a failure left running; `files` become the parent's artifacts.

    A run that was closed before gets the new status, and loses the reason of the old one.

    Args:
        results: the passes, for the description of a run that was not finished.
    """
    client, parent = run_group.client, run_group.parent()
    _name_kfp_run(client, parent)
    upload(client, parent, files)
    reasons = {STEP_TAG: ending.step, CAUSE_TAG: ending.cause, MESSAGE_TAG: ending.message}
    for tag in ENDING_TAGS:
        if reasons[tag]:
            client.set_tag(parent.info.run_id, tag, reasons[tag][:MOST_OF_A_MESSAGE])
        elif tag in parent.data.tags:
            client.delete_tag(parent.info.run_id, tag)
    if ending.sentence:
        client.set_tag(parent.info.run_id, NOTE, _description(results or RunResults(), ending))
    for run in (*run_group.children().values(), parent):
        if run is parent or run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, ending.status)


def add_points(client: MlflowClient, run: Run, points: Iterable[MetricPoint]) -> None:
    """Log the points whose metric has no value at their step yet."""
    by_key: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        by_key[point.key].append(point)
    missing: list[MetricPoint] = []
    for key, group in by_key.items():
        logged = _logged_steps(client, run, key)
        missing += [point for point in group if point.step not in logged]
    for start in range(0, len(missing), POINTS_PER_REQUEST):
        _log(client, run, missing[start : start + POINTS_PER_REQUEST])


def upload(client: MlflowClient, run: Run, files: Mapping[str, bytes]) -> None:
    """Write `files` (paths with forward slashes) among the run's artifacts; existing ones are replaced."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if files:
            client.log_artifacts(run.info.run_id, folder)


def _add_pass_points(
    client: MlflowClient, run: Run, points: list[MetricPoint], model_id: str | None = None
) -> None:
    """Log the points of one pass, unless they are there.

    They are one request, which MLflow stores as a whole or not at all. So it is enough to look for the first.
    """
    if points[0].step not in _logged_steps(client, run, points[0].key):
        _log(client, run, points, model_id)


def _add_params(client: MlflowClient, run: Run, constants: Mapping[str, str]) -> None:
    """Log the params that are missing: MLflow refuses a whole request that changes one param."""
    from mlflow.entities import Param

    missing = [Param(name, value) for name, value in constants.items() if name not in run.data.params]
    for start in range(0, len(missing), PARAMS_PER_REQUEST):
        client.log_batch(run.info.run_id, params=missing[start : start + PARAMS_PER_REQUEST])


def _logged_steps(client: MlflowClient, run: Run, key: str) -> set[int]:
    if key not in run.data.metrics:
        return set()
    return {metric.step for metric in client.get_metric_history(run.info.run_id, key)}


def _log(client: MlflowClient, run: Run, points: list[MetricPoint], model_id: str | None = None) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(p.key, p.value, p.ts, p.step, model_id=model_id) for p in points]
    client.log_batch(run.info.run_id, metrics=metrics)


def _digest(result: PassResult) -> str:
    return hashlib.sha256(json.dumps(result.to_json(), sort_keys=True).encode()).hexdigest()
