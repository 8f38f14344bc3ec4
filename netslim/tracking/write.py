"""Write the results of a run to MLflow: only what is missing there, so that a retried step adds nothing.

A metric's point is identified by its name and its step, and the first value that is written stays. A resumed
training and a retried step have points with new timestamps, and MLflow would draw both.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.report.tables import markdown
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.tracking.logged_models import log_model
from netslim.tracking.metrics import MetricPoint, curve_points, pass_points
from netslim.tracking.names import PASS_FILE, RECORDED_TAG
from netslim.tracking.runs import RunGroup

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["add_points", "child_name", "close", "record"]

POINTS_PER_REQUEST, PARAMS_PER_REQUEST = 1000, 100  # MLflow's limits


def child_name(result: PassResult) -> str:
    """`pass-01`, or for a point of a sweep its label with dashes."""
    return re.sub(r"[^\w.-]+", "-", result.label) or f"pass-{result.index:02d}"


def record(run_group: RunGroup, results: RunResults, bundle: Path | None = None) -> None:
    """Write every pass that MLflow lacks, and the bundle of the last pass.

    The parent gets the constants as params, and the passes as metrics at step = pass, so that its curves run
    over passes. Each child gets the metrics of its pass, its training curves at step = epoch, and its model.
    """
    client, parent = run_group.client, run_group.parent()
    if parent.info.status != "RUNNING":  # it was closed: its pipeline is being run again
        client.update_run(parent.info.run_id, status="RUNNING")
    _add_params(client, parent, results.constants)
    for result in results.rows:
        child = run_group.child(child_name(result))
        is_last = result is results.rows[-1]
        model_id = log_model(client, child, bundle, result) if bundle and is_last else None
        if child.data.tags.get(RECORDED_TAG) != (digest := _digest(result)):
            _record_pass(client, parent, child, results, result, model_id)
            client.set_tag(child.info.run_id, RECORDED_TAG, digest)
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id)
    client.set_tag(parent.info.run_id, "mlflow.note.content", markdown(results))


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


def close(run_group: RunGroup, *, failed: bool, files: Mapping[str, bytes]) -> None:
    """End the parent, and the children that a failure left running; `files` become the parent's artifacts."""
    parent, status = run_group.parent(), "FAILED" if failed else "FINISHED"
    upload(run_group.client, parent, files)
    for run in (*run_group.children().values(), parent):
        if run is parent or run.info.status == "RUNNING":
            run_group.client.set_terminated(run.info.run_id, status)


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
