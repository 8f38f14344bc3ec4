"""Runs that `netslim submit --wait` follows on a backend of the tests, with the answers of a real one."""

from __future__ import annotations

from click.testing import CliRunner, Result

from netslim_kfp.components.argo.workflow import steps_of
from netslim_kfp.pipelines.cli.submit import submit
from tests.helpers.kfp_samples import sample
from tests.helpers.kfp_state import Cluster

SHORT = ("--passes", "1", "--no-baseline")  # the pipeline of the samples of failed runs


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def run(cluster: Cluster, *options: str) -> Result:
    connection = ["--host", cluster.address, "--namespace", "ann"]
    return CliRunner().invoke(submit, [*connection, *SHORT, "--wait", *options])


def ends_like(cluster: Cluster, name: str) -> None:
    """Let every run end as the sample did."""
    recorded = sample(name)
    *before, last = [entry["state"] for entry in recorded["run"]["state_history"]]
    cluster.history, cluster.states = before, ["RUNNING", last]
    cluster.workflows = [recorded["workflow"]]


def pod_of(name: str, task: str) -> str:
    return next(step.pod for step in steps_of(sample(name)["workflow"]) if step.task == task)
