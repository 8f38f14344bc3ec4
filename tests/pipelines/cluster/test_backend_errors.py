"""A backend that fails for a while or for good, loses answers, is too old, or is not KFP."""

from __future__ import annotations

import pytest

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from tests.helpers.kfp_state import Cluster, Fault
from tests.helpers.submitting import refused, run


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 0])
def test_a_server_that_recovers_is_asked_again(cluster: Cluster, status: int) -> None:
    cluster.faults = [Fault("GET /pipelines$", status, times=2), Fault("POST /runs$", status, times=3)]
    assert run(cluster).exit_code == 0
    assert len(cluster.runs) == 1


@pytest.mark.parametrize("what", ["pipelines$", "pipelines/upload_version", "experiments", "runs$"])
def test_an_answer_that_got_lost_does_not_make_things_twice(cluster: Cluster, what: str) -> None:
    cluster.faults = [Fault(f"POST /{what}", 504, late=True)]
    assert run(cluster).exit_code == 0
    held = cluster.pipelines, cluster.versions, cluster.experiments, cluster.runs
    assert [len(things) for things in held] == [1, 1, 1, 1]
    assert cluster.asked(f"POST /{what}") == 1


def test_a_schedule_whose_answer_got_lost_is_one_schedule(cluster: Cluster) -> None:
    cluster.faults = [Fault("POST /recurringruns", 502, late=True)]
    assert run(cluster, "--cron", "0 3 * * 1").exit_code == 0
    assert len(cluster.schedules) == 1


def test_a_server_that_stays_away_is_given_up_with_its_message(cluster: Cluster) -> None:
    cluster.faults = [Fault("POST /runs$", 503, times=99)]
    message = refused(run(cluster))
    assert "cannot start the run (503: no healthy upstream)" in message
    assert cluster.asked("POST /runs$") == 5


def test_no_server_at_the_address() -> None:
    backend = KfpClient(host="http://127.0.0.1:1/pipeline", pauses=(0.0,))
    with pytest.raises(PipelineError, match=r"cannot be reached .*port-forward"):
        backend.check()


def test_a_server_too_old_is_refused_before_anything_is_uploaded(cluster: Cluster) -> None:
    cluster.version = "2.5.0"
    assert "KFP 2.5.0 is too old for this pipeline. Upgrade it to 2.17" in refused(run(cluster))
    assert cluster.asked("POST") == 0


def test_a_server_without_a_version_is_too_old_if_it_refuses_a_field(cluster: Cluster) -> None:
    cluster.version, cluster.unknown_fields = "unknown", ("resourceMemoryLimit",)
    message = refused(run(cluster))
    assert "cannot upload the pipeline (400: " in message
    assert "The server is older than 2.17: upgrade it" in message


def test_no_kfp_at_the_address(cluster: Cluster) -> None:
    message = refused(run(cluster, "--host", cluster.address.replace("/pipeline", "/elsewhere")))
    assert "404" in message
    assert "the path before /apis belongs to --host" in message
