"""One pipeline run in MLflow: a parent run, and below it a child run for each pass.

Every step of the pipeline is a process of its own. It may be retried, and may run beside another step. So no
process keeps an MLflow run open: each finds the runs by their tags, adds what is missing, and ends.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import netslim
from netslim.errors import TrackingError
from netslim.tracking.client import database_lock, ensure_experiment
from netslim.tracking.destination import EXPERIMENT, KFP_RUN, Destination, kfp_run_url, run_name
from netslim.tracking.names import (
    KEY_TAG,
    KFP_RUN_TAG,
    KFP_RUNS_TAG,
    KFP_URL_TAG,
    PARENT_TAG,
    RUN_TAG,
    VERSION_TAG,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunGroup", "find_run_group", "key_of_kfp_run"]

SETTLE = 0.5  # seconds after which two clients of one server see the runs that the other has made; or
SLOWNESS = 4  # times as long as making one run took, if that is longer


class RunGroup:
    """The MLflow runs of one pipeline run, as they were when this process read them.

    KFP's own MLflow plugin (KFP 2.17) may have made a run for the pipeline. Then the parent is made below
    that run, in its experiment. Nothing is ever written to KFP's runs: if such a run had a parameter of
    netslim, MLflow would refuse the batch in which KFP logs its own parameters.
    """

    def __init__(
        self, client: MlflowClient, destination: Destination, experiment_id: str, runs: dict[str, Run]
    ) -> None:
        self.client, self.destination, self.experiment_id = client, destination, experiment_id
        self.runs = runs
        self.kfp_run_id: str | None = None

    @classmethod
    def open(cls, client: MlflowClient, destination: Destination) -> RunGroup:
        """The runs at `destination`; the experiment is made when it does not exist.

        Raises:
            TrackingError: the destination names no experiment, and no run has its key.
        """
        kfp_run = _pipeline_run_of_kfp(client)
        if kfp_run is None and not destination.experiment:
            if existing := find_run_group(client, destination):
                return existing
            remedy = "Name the experiment for the run"
            raise TrackingError("not set, and no run has this key yet", field=EXPERIMENT, remedy=remedy)
        experiment_id = (
            kfp_run.info.experiment_id
            if kfp_run
            else ensure_experiment(client, destination.uri, destination.experiment)
        )
        group = cls(client, destination, experiment_id, _runs(client, [experiment_id], destination.key))
        group.kfp_run_id = kfp_run.info.run_id if kfp_run else None
        return group

    def parent(self) -> Run:
        """The parent run, made if it does not exist."""
        kfp_run = os.environ.get(KFP_RUN, "")
        tags = {PARENT_TAG: self.kfp_run_id, KFP_RUN_TAG: kfp_run, KFP_URL_TAG: kfp_run_url(kfp_run)}
        name = run_name(otherwise=self.destination.key)
        return self._find_or_create("", name, {tag: value for tag, value in tags.items() if value})

    def child(self, name: str) -> Run:
        """The run of a pass (`pass-01`) or of a point of a sweep, made if it does not exist."""
        return self._find_or_create(f"/{name}", name, {PARENT_TAG: self.parent().info.run_id})

    def children(self) -> dict[str, Run]:
        """The child runs that exist, by name, in the order of their names."""
        prefix = f"{self.destination.key}/"
        return {
            key.removeprefix(prefix): self.runs[key] for key in sorted(self.runs) if key.startswith(prefix)
        }

    def _find_or_create(self, suffix: str, name: str, tags: dict[str, str]) -> Run:
        key = self.destination.key + suffix
        if key not in self.runs:
            with database_lock(self.destination.uri):
                begun = time.monotonic()
                self.read_again()  # another process may have made it meanwhile
                if key not in self.runs:
                    ours = {
                        KEY_TAG: key,
                        RUN_TAG: self.destination.key,
                        VERSION_TAG: netslim.__version__,
                    }
                    created = self.client.create_run(self.experiment_id, run_name=name, tags=ours | tags)
                    self.runs[key] = created
                    if not self.destination.uri.startswith("sqlite"):
                        self._keep_the_earliest(key, created, after=SLOWNESS * (time.monotonic() - begun))
        return self.runs[key]

    def _keep_the_earliest(self, key: str, created: Run, *, after: float) -> None:
        """Read the runs again after a moment, and delete `created` if another process made one before.

        A server has no lock for this.
        """
        time.sleep(max(SETTLE, after))
        self.read_again()
        if self.runs[key].info.run_id != created.info.run_id:
            self.client.delete_run(created.info.run_id)

    def read_again(self) -> None:
        """Read the runs again: their tags, params and metrics are those of the last reading."""
        self.runs = _runs(self.client, [self.experiment_id], self.destination.key)


def find_run_group(client: MlflowClient, destination: Destination) -> RunGroup | None:
    """The runs with the destination's key, in its experiment or else in any other; nothing is made."""
    experiment = client.get_experiment_by_name(destination.experiment) if destination.experiment else None
    runs = _runs(client, [experiment.experiment_id], destination.key) if experiment else {}
    if destination.key not in runs:
        everywhere = [each.experiment_id for each in client.search_experiments()]
        runs = _runs(client, everywhere, destination.key)
    if destination.key in runs:
        return RunGroup(client, destination, runs[destination.key].info.experiment_id, runs)
    return None


def key_of_kfp_run(client: MlflowClient, kfp_run: str) -> str | None:
    """The key of the run that has, or had, the id `kfp_run` in KFP; None if there is none.

    A run that was submitted again keeps the key of its first run.
    """
    ids = [each.experiment_id for each in client.search_experiments()]
    for condition in (f"tags.`{KFP_RUN_TAG}` = '{kfp_run}'", f"tags.`{KFP_RUNS_TAG}` LIKE '%{kfp_run}%'"):
        for run in client.search_runs(ids, f"{condition} AND tags.`{RUN_TAG}` LIKE '%'"):
            tags = run.data.tags  # KFP's own plugin has the first tag on a run of its own
            if kfp_run in (tags.get(KFP_RUN_TAG), *tags.get(KFP_RUNS_TAG, "").split()):
                return str(tags[RUN_TAG])
    return None


def _runs(client: MlflowClient, experiment_ids: list[str], key: str) -> dict[str, Run]:
    """The runs of one pipeline run by their key tag.

    Two processes at once may have made two runs with one key tag; the earlier one counts.
    """
    tagged = client.search_runs(experiment_ids, f"tags.`{RUN_TAG}` = '{key}'")
    runs: dict[str, Run] = {}
    for run in sorted(tagged, key=lambda run: (run.info.start_time, run.info.run_id)):
        runs.setdefault(run.data.tags[KEY_TAG], run)
    return runs


def _pipeline_run_of_kfp(client: MlflowClient) -> Run | None:
    """The run that KFP's plugin made for the whole pipeline: the topmost run above that of this task.

    None when the plugin is not in use. The plugin sets MLFLOW_RUN_ID to the run of the task.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    run, visited = client.get_run(run_id), {run_id}
    while (above := run.data.tags.get(PARENT_TAG)) and above not in visited:
        visited.add(above)
        run = client.get_run(above)
    return run
