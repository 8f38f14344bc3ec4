"""The worker process: its exit code, its log, and the runner that the request names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import local

from netslim_kfp.pipelines.local import docker, worker


def work(folder: Path, ending: str) -> subprocess.CompletedProcess[str]:
    """Start the worker as `run_local` does."""
    request = {
        "ir": str(folder / "ir.yaml"),
        "arguments": {"ending": ending},
        "root": str(folder / "artifacts"),
        "titles": {"work": "the work"},
        "workspace": str(folder / "workspace"),
        "cache": False,
        "runner": "subprocess",
        "environment": {},
    }
    (folder / "run.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "netslim_kfp.pipelines.local.worker", str(folder / "run.json")]
    environment = {**os.environ, "NETSLIM_RUN_KEY": "key-of-the-run"}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "code", "status"), [("", 0, "SUCCESS"), ("error", 1, "FAILURE")])
def test_the_exit_code_and_the_log_say_how_the_pipeline_ended(
    tmp_path: Path, tiny: Any, compile_tiny: Any, ending: str, code: int, status: str
) -> None:
    compile_tiny(tiny, tmp_path / "ir.yaml")
    done = work(tmp_path, ending)
    assert done.returncode == code, done.stdout + done.stderr
    assert status in done.stdout
    results = [path.read_text() for path in (tmp_path / "artifacts").rglob("executor_output.json")]
    assert ["key-of-the-run" in result for result in results] == ([True] if code == 0 else [])


def test_the_request_names_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(worker.runner({"runner": "subprocess"}), local.SubprocessRunner)
    monkeypatch.setattr(docker, "docker_runner", lambda wanted: SimpleNamespace(of=wanted))
    request = {"runner": "docker", "root": "/out/artifacts"}
    assert worker.runner(request).of == request
