"""Read a recorded run back from MLflow: its results, its bundles, its report."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from netslim.errors import TrackingError
from netslim.results.ending import Ending
from netslim.results.pass_result import PassResult
from netslim.results.run_results import RunResults
from netslim.storage.atomic import read_json
from netslim.tracking.client import connect
from netslim.tracking.destination import Destination
from netslim.tracking.links import how_to_view
from netslim.tracking.logged_models import fetch_bundle, has_model
from netslim.tracking.names import (
    CAUSE_TAG,
    MESSAGE_TAG,
    REGISTERED_TAG,
    REPORT_FILE,
    STEP_TAG,
    pass_file,
)
from netslim.tracking.newest import newest_run_key
from netslim.tracking.runs import RunGroup, find_run_group, key_of_kfp_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RecordedRun", "RunState", "download", "read_results", "read_run", "read_state"]


@dataclass(frozen=True)
class RecordedRun:
    """A run as MLflow has it.

    `status` is RUNNING, FINISHED, FAILED or KILLED; `view` is the address that shows the run; for a
    database the command that serves it comes before. `registered` is the address of its registered model,
    `ending` says why it did not end by its results, where it did not.
    """

    key: str
    name: str
    run_id: str
    experiment: str
    experiment_id: str
    status: str
    started: datetime
    results: RunResults
    view: str
    registered: str = ""
    ending: Ending | None = None


@dataclass(frozen=True)
class RunState:
    """A run as the step that ends its pipeline finds it: its status, its passes, and its report if any."""

    status: str
    results: RunResults
    page: bytes


def read_run(uri: str, experiment: str = "", key: str | None = None) -> RecordedRun:
    """The run with the key `key`, or the newest run that has a pass.

    Args:
        key: on a cluster also the id in KFP of any try of the run.
        experiment: with a key, the experiment that is searched before all others; without one, the only one
            that is searched. Empty: every experiment.

    Raises:
        TrackingError: there is no such run, or the server cannot be used.
    """
    Destination(uri, experiment, key or "newest")  # refuses addresses that MLflow cannot use
    with connect(uri, create=False) as client:
        key = key or newest_run_key(client, experiment)
        run_group = _existing(client, Destination(uri, experiment, key))
        parent = run_group.parent()
        return RecordedRun(
            key=run_group.destination.key,
            name=parent.info.run_name,
            run_id=parent.info.run_id,
            experiment=client.get_experiment(run_group.experiment_id).name,
            experiment_id=run_group.experiment_id,
            status=parent.info.status,
            started=datetime.fromtimestamp(parent.info.start_time / 1000, UTC),
            results=read_results(run_group),
            view=how_to_view(uri, run_group.experiment_id, parent.info.run_id),
            registered=parent.data.tags.get(REGISTERED_TAG, ""),
            ending=_ending(parent),
        )


def _ending(parent: Run) -> Ending | None:
    status, tags = parent.info.status, parent.data.tags
    if status not in ("FAILED", "KILLED"):
        return None
    step, cause, message = (tags.get(tag, "") for tag in (STEP_TAG, CAUSE_TAG, MESSAGE_TAG))
    return Ending(status=status, step=step, cause=cause, message=message)


def read_state(run_group: RunGroup) -> RunState:
    """The state of a run on an open connection."""
    parent = run_group.parent()
    with tempfile.TemporaryDirectory() as folder:
        report = _download_report(run_group.client, parent, Path(folder))
        page = report.read_bytes() if report else b""
    return RunState(parent.info.status, read_results(run_group), page)


def read_results(run_group: RunGroup) -> RunResults:
    """The passes that were recorded completely, in order, and the parent's params as constants."""
    with tempfile.TemporaryDirectory() as folder:
        passes = [
            PassResult.from_json(read_json(_download_pass(run_group.client, run, file, folder)))
            for run in run_group.children().values()
            if (file := pass_file(run.data.tags))
        ]
    passes.sort(key=lambda result: (result.index, result.measured_at))
    return RunResults(tuple(passes), run_group.parent().data.params)


def download(uri: str, experiment: str, key: str, folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Download the run's bundles (`pass-01`, ...) and its report (`report`), if there is one, into `folder`.

    Returns:
        The path of each by its name; each is in a folder of its own.

    Raises:
        TrackingError: there is no such run, or the server cannot be used.
    """
    with connect(uri, create=False) as client:
        run_group = _existing(client, Destination(uri, experiment, key))
        downloaded = {
            name: fetch_bundle(client, uri, run, _new_folder(folder, name))
            for name, run in run_group.children().items()
            if has_model(run)
        }
        if report := _download_report(client, run_group.parent(), _new_folder(folder, "report")):
            downloaded["report"] = report
        return downloaded


def _download_report(client: MlflowClient, parent: Run, folder: Path) -> Path | None:
    if any(file.path == REPORT_FILE for file in client.list_artifacts(parent.info.run_id)):
        return Path(client.download_artifacts(parent.info.run_id, REPORT_FILE, str(folder)))
    return None


def _new_folder(folder: str | os.PathLike[str], name: str) -> Path:
    path = Path(folder, name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _download_pass(client: MlflowClient, run: Run, file: str, folder: str) -> str:
    return str(client.download_artifacts(run.info.run_id, file, str(_new_folder(folder, run.info.run_id))))


def _existing(client: MlflowClient, destination: Destination) -> RunGroup:
    run_group = find_run_group(client, destination)
    if run_group is None and (first := key_of_kfp_run(client, destination.key)):
        run_group = find_run_group(client, replace(destination, key=first))
    if run_group is None:
        remedy = "`netslim show` without a key shows the newest run; --tracking-uri selects another server"
        raise TrackingError("no run has this key", field="run", value=destination.key, remedy=remedy)
    return run_group
