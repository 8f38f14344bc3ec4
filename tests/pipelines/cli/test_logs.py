"""`netslim logs` over HTTP, with the answers of a real backend."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner, Result

from netslim_kfp.pipelines.cli.logs import logs
from tests.helpers.followed_runs import ends_like, pod_of, run
from tests.helpers.kfp_state import Cluster


def show_log(cluster: Cluster, *options: str) -> Result:
    return CliRunner().invoke(logs, ["--host", cluster.address, *options])


def test_logs_takes_the_failed_step_or_the_one_that_is_named(cluster: Cluster) -> None:
    ends_like(cluster, "out-of-memory")
    cluster.logs = {
        pod_of("out-of-memory", "train-sparse"): "one\ntwo\nthree\n",
        pod_of("out-of-memory", "finish"): "closed\n",
    }
    run(cluster)
    run_id = cluster.runs[0].run_id
    assert show_log(cluster, run_id).stdout == "one\ntwo\nthree\n"
    assert show_log(cluster, run_id, "--tail", "1").stdout == "three\n"
    assert show_log(cluster, run_id, "FINISH").stdout == "closed\n"
    assert show_log(cluster, run_id, "pass 1: train sparse").stdout == "one\ntwo\nthree\n"
    listed = show_log(cluster, run_id, "--list").stdout
    assert re.search(r"^pass 1: train sparse +failed  main: OOMKilled", listed, re.MULTILINE)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("prune", "step = prune: no step has this name"),
        ("e", "several steps have this in their names. Name one of prepare data, pass 1: train sparse"),
        ("prepare", "step = prepare data: the server has no log of it"),
    ],
)
def test_a_step_without_a_log_is_explained(cluster: Cluster, step: str, message: str) -> None:
    ends_like(cluster, "out-of-memory")
    run(cluster)
    assert message in str(show_log(cluster, cluster.runs[0].run_id, step).exception)


def test_a_run_that_does_not_exist(cluster: Cluster) -> None:
    assert "404" in str(show_log(cluster, "5f1c").exception)
    assert "not the id of a run" in str(show_log(cluster, "../x").exception)
