"""Put a ledger into MLflow: whatever is missing there, and nothing twice.

A point is known by its name and its step, and the first value that arrives stays: a training that was resumed
and a step that was retried have points with new timestamps, and MLflow would draw both.
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
from netslim.tracking.metrics import Point, curve_points, row_points
from netslim.tracking.runs import RunGroup

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["DELIVERED", "ROW", "add_points", "child_name", "close", "record"]

ROW = "row.json"
DELIVERED = "netslim.delivered"  # on a child: the digest of the row that is all there
BATCH = 1000  # the most points that MLflow takes in one request


def child_name(row: PassResult) -> str:
    return re.sub(r"[^\w.-]+", "-", row.label) or f"pass-{row.index:02d}"


def record(family: RunGroup, ledger: RunResults, bundle: Path | None = None) -> None:
    """Deliver every row that is not there yet, and the last row's bundle.

    The parent has the constants as params and the rows as metrics at step = pass, so that its curves are the
    curves over passes. A child has its own row, its training curves at step = epoch, and its model.
    """
    client, parent = family.client, family.parent()
    if parent.info.status != "RUNNING":  # it was closed: its pipeline is being run again
        client.update_run(parent.info.run_id, status="RUNNING")
    _add_params(client, parent, ledger.constants)
    for row in ledger.rows:
        child = family.child(child_name(row))
        mine = bundle if row is ledger.rows[-1] else None
        model_id = log_model(client, child, mine, row) if mine else None
        if child.data.tags.get(DELIVERED) != (digest := _digest(row)):
            points = row_points(ledger, row)
            if not row.label:
                _add_row(client, parent, points)
            _add_row(client, child, points, model_id)
            add_points(
                client, child, [p for stage, curve in row.curves.items() for p in curve_points(stage, curve)]
            )
            upload(client, child, {ROW: json.dumps(row.to_json(), indent=1).encode()})
            client.set_tag(child.info.run_id, DELIVERED, digest)
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id)
    client.set_tag(parent.info.run_id, "mlflow.note.content", markdown(ledger))


def close(family: RunGroup, *, failed: bool, files: Mapping[str, bytes]) -> None:
    """End the parent, and the children that a failure left running; `files` become the parent's artifacts."""
    parent, status = family.parent(), "FAILED" if failed else "FINISHED"
    upload(family.client, parent, files)
    for run in (*family.children().values(), parent):
        if run is parent or run.info.status == "RUNNING":
            family.client.set_terminated(run.info.run_id, status)


def add_points(client: MlflowClient, run: Run, points: Iterable[Point]) -> None:
    """Log the points whose step is not there yet under their name."""
    by_key: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        by_key[point.key].append(point)
    missing: list[Point] = []
    for key, group in by_key.items():
        there = _steps(client, run, key)
        missing += [point for point in group if point.step not in there]
    for start in range(0, len(missing), BATCH):
        _log(client, run, missing[start : start + BATCH])


def upload(client: MlflowClient, run: Run, files: Mapping[str, bytes]) -> None:
    """Write `files` (paths with forward slashes) among the run's artifacts; what is there is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        if files:
            client.log_artifacts(run.info.run_id, folder)


def _add_row(client: MlflowClient, run: Run, points: list[Point], model_id: str | None = None) -> None:
    """Log a row's points, which are one request and so are there all or not at all: one of them tells."""
    if points[0].step not in _steps(client, run, points[0].key):
        _log(client, run, points, model_id)


def _add_params(client: MlflowClient, run: Run, constants: Mapping[str, str]) -> None:
    """Log what is not there yet: MLflow refuses a whole request that changes one param."""
    from mlflow.entities import Param

    missing = [Param(name, value) for name, value in constants.items() if name not in run.data.params]
    for start in range(0, len(missing), 100):
        client.log_batch(run.info.run_id, params=missing[start : start + 100])


def _steps(client: MlflowClient, run: Run, key: str) -> set[int]:
    if key not in run.data.metrics:
        return set()
    return {metric.step for metric in client.get_metric_history(run.info.run_id, key)}


def _log(client: MlflowClient, run: Run, points: list[Point], model_id: str | None = None) -> None:
    from mlflow.entities import Metric

    metrics = [Metric(p.key, p.value, p.ts, p.step, model_id=model_id) for p in points]
    client.log_batch(run.info.run_id, metrics=metrics)


def _digest(row: PassResult) -> str:
    return hashlib.sha256(json.dumps(row.to_json(), sort_keys=True).encode()).hexdigest()
