"""One pipeline run in MLflow: a parent, and below it a child for each pass, found by tags or made.

Every step of the pipeline is a process of its own, may be retried, and may run beside another. So runs are
never held open: each process finds them by their tags, adds what is not there yet, and leaves.

    netslim.run   the pipeline run's key, on the parent and on all its children
    netslim.key   the key itself on the parent, key/pass-01 on a child
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import netslim
from netslim.errors import TrackingError
from netslim.tracking.client import alone, ensure_experiment
from netslim.tracking.destination import EXPERIMENT, Destination

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunGroup", "find_run_group"]

IDENTITY, FAMILY, PARENT = "netslim.key", "netslim.run", "mlflow.parentRunId"
SETTLE = 0.5  # seconds in which two clients of one server that made the same run see each other's; or
SLOWNESS = 4  # times what it took to make one, when that is longer


class RunGroup:
    """The runs of one pipeline run, as they were when this process asked for them.

    KFP's own MLflow plugin (KFP 2.17) may have made a run for the pipeline. Then the parent is put below it,
    in its experiment, and nothing is ever written to KFP's runs: a parameter of ours would make MLflow refuse
    the batch in which KFP logs its own.
    """

    def __init__(
        self, client: MlflowClient, place: Destination, experiment_id: str, runs: dict[str, Run]
    ) -> None:
        self.client, self.place, self.experiment_id, self.runs = client, place, experiment_id, runs
        self.above: str | None = None

    @classmethod
    def at(cls, client: MlflowClient, place: Destination) -> RunGroup:
        """The family at `place`; its experiment is made when it is not there.

        Raises:
            TrackingError: the place has no experiment, and no run yet that would tell it.
        """
        above = _pipeline_run_of_kfp(client)
        if above is None and not place.experiment:
            if found := find_run_group(client, place):
                return found
            remedy = "Name the experiment where the run is to be recorded"
            raise TrackingError("not set, and no run has this key yet", field=EXPERIMENT, remedy=remedy)
        experiment_id = (
            above.info.experiment_id if above else ensure_experiment(client, place.uri, place.experiment)
        )
        family = cls(client, place, experiment_id, _runs(client, [experiment_id], place.key))
        family.above = above.info.run_id if above else None
        return family

    def parent(self) -> Run:
        return self._ensure("", self.place.key, {PARENT: self.above} if self.above else {})

    def child(self, name: str) -> Run:
        """The run of a pass (`pass-01`) or of a point of a sweep."""
        return self._ensure(f"/{name}", name, {PARENT: self.parent().info.run_id})

    def children(self) -> dict[str, Run]:
        """Those that exist, by name, in order."""
        prefix = f"{self.place.key}/"
        return {
            key.removeprefix(prefix): self.runs[key] for key in sorted(self.runs) if key.startswith(prefix)
        }

    def _ensure(self, suffix: str, name: str, tags: dict[str, str]) -> Run:
        key = self.place.key + suffix
        if key not in self.runs:
            with alone(self.place.uri):
                begun = time.monotonic()
                self._look_again()  # another process may have been here meanwhile
                if key not in self.runs:
                    own = {IDENTITY: key, FAMILY: self.place.key, "netslim.version": netslim.__version__}
                    made = self.client.create_run(self.experiment_id, run_name=name, tags=own | tags)
                    self.runs[key] = made
                    if not self.place.uri.startswith("sqlite"):
                        self._elect(key, made, after=SLOWNESS * (time.monotonic() - begun))
        return self.runs[key]

    def _elect(self, key: str, made: Run, *, after: float) -> None:
        """A server has no lock to ask for: look again a moment later, and let the earlier run stand."""
        time.sleep(max(SETTLE, after))
        self._look_again()
        if self.runs[key].info.run_id != made.info.run_id:
            self.client.delete_run(made.info.run_id)

    def _look_again(self) -> None:
        self.runs = _runs(self.client, [self.experiment_id], self.place.key)


def find_run_group(client: MlflowClient, place: Destination) -> RunGroup | None:
    """The runs with the place's key, in its experiment or else in any; nothing is made."""
    named = client.get_experiment_by_name(place.experiment) if place.experiment else None
    runs = _runs(client, [named.experiment_id], place.key) if named else {}
    if place.key not in runs:
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = _runs(client, everywhere, place.key)
    if place.key in runs:
        return RunGroup(client, place, runs[place.key].info.experiment_id, runs)
    return None


def _runs(client: MlflowClient, experiment_ids: list[str], key: str) -> dict[str, Run]:
    """Runs of a family by their identity. Of two with the same one, which a race may leave, the earlier."""
    found = client.search_runs(experiment_ids, f"tags.`{FAMILY}` = '{key}'")
    runs: dict[str, Run] = {}
    for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
        runs.setdefault(run.data.tags[IDENTITY], run)
    return runs


def _pipeline_run_of_kfp(client: MlflowClient) -> Run | None:
    """The run that KFP's plugin made for the whole pipeline, above the one it injects for this task."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    run, seen = client.get_run(run_id), {run_id}
    while (above := run.data.tags.get(PARENT)) and above not in seen:
        seen.add(above)
        run = client.get_run(above)
    return run
