"""What MLflow knows of a run, read back: its ledger, its models, its report."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.errors import TrackingError
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.storage.atomic import read_json
from netslim.tracking.client import mlflow_at
from netslim.tracking.destination import Destination
from netslim.tracking.links import view
from netslim.tracking.logged_models import fetch_model, has_model
from netslim.tracking.runs import FAMILY, RunGroup, find_run_group
from netslim.tracking.write import DELIVERED, ROW

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["REPORT", "Found", "download", "ledger_of", "read_run"]

REPORT = "report.html"


@dataclass(frozen=True)
class Found:
    """A run as MLflow has it. `status` is RUNNING, FINISHED or FAILED; `view` is how to look at it."""

    key: str
    run_id: str
    experiment_id: str
    status: str
    ledger: RunResults
    view: str


def read_run(uri: str, experiment: str, key: str | None = None) -> Found:
    """The run `key`, or the last one that began in the experiment.

    Raises:
        TrackingError: there is no such run, or the server cannot be used.
    """
    with mlflow_at(uri, create=False) as client:
        family = _family(client, Destination(uri, experiment, key or _last(client, experiment)))
        parent = family.parent()
        return Found(
            key=family.place.key,
            run_id=parent.info.run_id,
            experiment_id=family.experiment_id,
            status=parent.info.status,
            ledger=ledger_of(family),
            view=view(uri, family.experiment_id, parent.info.run_id),
        )


def ledger_of(family: RunGroup) -> RunResults:
    """The rows that were delivered whole, in order, and the parent's params."""
    delivered = [run for run in family.children().values() if DELIVERED in run.data.tags]
    with tempfile.TemporaryDirectory() as folder:
        rows = [PassResult.from_json(read_json(_row_file(family.client, run, folder))) for run in delivered]
    rows.sort(key=lambda row: (row.index, row.measured_at))
    return RunResults(tuple(rows), family.parent().data.params)


def download(uri: str, experiment: str, key: str, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Bring the run's bundles (folders `pass-01`, ...) and its `report`, if there is one, into `folder`.

    Returns:
        Where each of them is, by name; each lies in a folder of its own.

    Raises:
        TrackingError: there is no such run, or the server cannot be used.
    """
    with mlflow_at(uri, create=False) as client:
        family = _family(client, Destination(uri, experiment, key))
        found = {
            name: fetch_model(client, uri, run, _empty(folder, name))
            for name, run in family.children().items()
            if has_model(run)
        }
        parent = family.parent().info.run_id
        if any(file.path == REPORT for file in client.list_artifacts(parent)):
            found["report"] = Path(client.download_artifacts(parent, REPORT, str(_empty(folder, "report"))))
        return found


def _empty(folder: str | os.PathLike[str], name: str) -> Path:
    place = Path(folder, name)
    place.mkdir(parents=True, exist_ok=True)
    return place


def _row_file(client: MlflowClient, run: Run, folder: str) -> str:
    place = _empty(folder, run.info.run_id)
    return str(client.download_artifacts(run.info.run_id, ROW, str(place)))


def _family(client: MlflowClient, place: Destination) -> RunGroup:
    family = find_run_group(client, place)
    if family is None:
        remedy = "`netslim show` without a key takes the last run; --tracking-uri may name another server"
        raise TrackingError("no run has this key", field="run", value=place.key, remedy=remedy)
    return family


def _last(client: MlflowClient, experiment: str) -> str:
    """The key of the pipeline run that began last."""
    named = client.get_experiment_by_name(experiment)
    newest = (
        client.search_runs([named.experiment_id], order_by=["attributes.start_time DESC"]) if named else []
    )
    for run in newest:
        if FAMILY in run.data.tags:
            return str(run.data.tags[FAMILY])
    remedy = "Run `netslim run` first, or name another --dataset or --tracking-uri"
    raise TrackingError("no run has been recorded in it", field="experiment", value=experiment, remedy=remedy)
