"""The reason of a run's end, from answers of a real backend, and from the events of a local run."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from netslim import progress
from netslim.errors import TrainingError
from netslim.results.ending import Ending
from netslim_kfp.components.run_ending import run_ending
from tests.helpers.kfp_samples import sample

Serve = Callable[[dict[str, str]], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Answer as KFP's API does: a body for each path, 404 for others."""
    answers: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, "").encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("KFP_RUN_ID", "the-run")
        monkeypatch.setenv("ML_PIPELINE_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("ML_PIPELINE_SERVICE_PORT", str(server.server_port))
        yield answers.update
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (progress.ENVIRONMENT, "KFP_RUN_ID", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def answer(workflow: dict[str, Any]) -> dict[str, str]:
    manifest = {"pipeline_runtime": {"workflow_manifest": json.dumps(workflow)}}
    return {"/apis/v1beta1/runs/the-run": json.dumps(manifest)}


def status(state: str) -> Any:
    return SimpleNamespace(state=state, error_message=None)


@pytest.mark.parametrize(
    ("name", "ending", "cause", "message"),
    [
        ("out-of-memory", "FAILED", "out of memory", "OOMKilled"),
        ("timed-out", "FAILED", "time-out", "longer than the specified deadline"),
        ("canceled", "KILLED", "canceled", ""),
    ],
)
def test_the_step_and_the_cause_come_from_kfps_api(
    name: str, ending: str, cause: str, message: str, serve: Serve
) -> None:
    serve(answer(sample(name)["workflow"]))
    found = run_ending(status("RUNNING"))
    assert (found.status, found.step, found.cause) == (ending, "train-sparse", cause)
    assert message in found.message


def test_the_message_of_a_steps_own_error_comes_from_its_log_and_the_title_from_its_task(
    serve: Serve,
) -> None:
    workflow = sample("user-mistake")["workflow"]
    nodes = workflow["status"]["nodes"].values()
    (pod,) = [node for node in nodes if node["type"] == "Pod" and node["phase"] == "Failed"]
    task = {"name": "task", "value": json.dumps({"taskInfo": {"name": "prepare data"}})}
    drivers = [{"name": "prepare-data-driver", "arguments": {"parameters": [task]}}]
    workflow["spec"] = {"templates": [{"dag": {"tasks": drivers}}]}
    message = "s3://bucket/none: nothing to download there. Check the bucket."
    log = f"I1127 launcher\nnetslim: {message}\nexit status 8\n"
    serve(answer(workflow) | {f"/apis/v1alpha1/runs/the-run/nodes/{pod['id']}/log": log})
    found = run_ending(status("FAILED"))
    assert (found.status, found.step, found.cause) == ("FAILED", "prepare data", "exit code 8")
    assert found.message == message


@pytest.mark.parametrize(
    ("state", "expected"), [("FAILED", "FAILED"), ("RUNNING", "KILLED"), ("COMPLETE", "KILLED")]
)
def test_without_an_answer_the_state_of_kfp_decides(
    state: str, expected: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_ending(status(state)) == Ending(status=expected)  # type: ignore[arg-type]  # 404, as behind a login
    serve({"/apis/v1beta1/runs/the-run": "<html>Log in</html>"})
    assert run_ending(status(state)).status == expected
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}/")
        assert run_ending(status(state)).status == expected


def test_a_local_run_reports_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(progress.ENVIRONMENT, str(tmp_path / "events"))
    assert run_ending(status("FAILED")) == Ending(status="FAILED")
    progress.emit_event("failed", step="sparse training of pass 1")
    progress.emit_event("error", **TrainingError("diverged").to_json())
    expected = Ending(
        status="FAILED", step="sparse training of pass 1", cause="an error", message="diverged."
    )
    assert run_ending(status("FAILED")) == expected
