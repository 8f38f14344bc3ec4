"""Tokens and permissions: which is missing, wrong or expired, and what a user reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netslim.errors import PipelineError
from netslim_kfp.pipelines.cluster import watch as watching
from netslim_kfp.pipelines.cluster.kfp_client import KfpClient
from netslim_kfp.pipelines.cluster.run_reader import RunReader
from tests.helpers.kfp_server import Handler
from tests.helpers.kfp_state import Cluster
from tests.helpers.submitting import refused, run


def test_a_token_from_the_environment_is_sent_and_never_shown(cluster: Cluster) -> None:
    cluster.token = "very-secret"
    result = run(cluster, KF_PIPELINES_TOKEN="very-secret")
    assert result.exit_code == 0
    assert len(cluster.runs) == 1
    assert "very-secret" not in result.output + repr(KfpClient(host=cluster.address, token="very-secret"))


def test_a_wrong_and_a_missing_token_have_errors_of_their_own(cluster: Cluster) -> None:
    cluster.token = "right"
    message = refused(run(cluster, "--token", "stale"))
    assert "not logged in (401)" in message
    assert "The token has expired or is not for this server" in message
    assert "stale" not in message
    assert "The server requires a token" in refused(run(cluster))


def test_a_token_that_expires_while_waiting_is_read_again(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    cluster.token, cluster.states = "first", ["RUNNING"]

    def rotate(event: watching.Event) -> None:
        if event.kind == "running":
            file.write_text("second\n")
            cluster.token, cluster.states = "second", ["SUCCEEDED"]

    backend = KfpClient(host=cluster.address, namespace="ann", token_file=str(file))
    run(cluster, "--token-file", str(file))
    cluster.states = ["RUNNING"]
    watching.watch(RunReader(backend, cluster.runs[0].run_id), on_event=rotate)
    assert cluster.runs[0].state == "SUCCEEDED"


def test_a_token_that_expires_for_good_ends_the_wait_and_not_the_run(cluster: Cluster) -> None:
    cluster.token = "first"

    def expire(event: watching.Event) -> None:
        cluster.token = "second"

    run(cluster, "--token", "first")
    backend = KfpClient(host=cluster.address, namespace="ann", token="first")
    with pytest.raises(PipelineError, match=r"may not look at the run: not logged in \(401\)"):
        watching.watch(RunReader(backend, cluster.runs[0].run_id), on_event=expire)
    assert cluster.runs[0].state == "PENDING"
    assert cluster.asked(":terminate") == 0


@pytest.mark.parametrize(
    ("forbidden", "doing"),
    [("POST /runs", "start the run"), ("POST /pipelines/upload", "upload the pipeline")],
)
def test_a_missing_permission_is_named_with_what_needs_it(
    cluster: Cluster, forbidden: str, doing: str
) -> None:
    cluster.token, cluster.forbidden = "t", forbidden
    message = refused(run(cluster, "--token", "t"))
    assert message.startswith(f"may not {doing} in namespace ann (403: User 'ann' is not authorized")
    assert "kubeflow-edit" in message


def test_a_login_page_is_recognised(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(self: Any, status: int, content: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "19")
        self.end_headers()
        self.wfile.write(b"<html>log in</html>")

    monkeypatch.setattr(Handler, "reply", page)
    assert "answers, but not as KFP does. It may be a login page" in refused(run(cluster))
