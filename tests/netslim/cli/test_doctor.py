"""`netslim doctor`: each problem is one plain sentence with the setting to change, and the exit code is 1."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from netslim.cli import doctor as module
from netslim.cli.doctor import doctor
from tests.helpers.processes import free_port

RAW = ("ConnectionPool", "Max retries", "Caused by", "Traceback", "secret")


@pytest.fixture(autouse=True)
def _outside_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NETSLIM_IMAGE", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def run(*options: str) -> Result:
    return CliRunner().invoke(doctor, options, catch_exceptions=False)


def line_of(result: Result, name: str) -> str:
    (line,) = [line for line in result.output.splitlines() if line[5:].startswith(name)]
    return line


def test_without_options_the_installation_is_checked() -> None:
    result = run()
    assert result.exit_code == 0
    assert line_of(result, "numpy").startswith(" ok")
    assert "Not usable" not in result.output


def test_a_server_that_is_down_is_named_with_the_remedy() -> None:
    result = run("--tracking-uri", f"http://user:secret@127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    line = line_of(result, "tracking server")
    assert line.startswith(" no  ")
    assert "the server cannot be reached (connection refused). Start the server, or correct" in line
    assert not [words for words in RAW if words in result.output]
    assert result.output.rstrip().endswith("Not usable: tracking server")


def test_a_database_that_can_be_used(tmp_path: Path) -> None:
    result = run("--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", "--data-root", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert line_of(result, "tracking server").endswith("/mlflow.db can be used")
    assert line_of(result, "data root").startswith(" ok")


def test_a_data_root_that_does_not_exist(tmp_path: Path) -> None:
    result = run("--data-root", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "none: no such folder. Create it, or correct the path." in line_of(result, "data root")


def test_a_bucket_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in {**settings, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("netslim.storage.s3_requests.ATTEMPTS", 1)
    result = run("--data-root", "s3://bucket/photos")
    assert result.exit_code == 1
    line = line_of(result, "data root")
    assert "s3://bucket/photos: the object store cannot be reached. Check AWS_ENDPOINT_URL" in line
    assert not [words for words in RAW if words in result.output]


def test_a_container_engine_that_hangs_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(module.subprocess, "run", hang)
    result = module.docker_runner()
    assert (result.passed, result.name) == (None, "runner docker")
    assert result.detail.startswith("the engine does not answer: restart it")


def test_a_backend_is_checked_where_it_is_asked_for() -> None:
    """What is checked is tested in tests/pipelines/cli/test_check_backend.py."""
    result = run("--host", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 1
    assert "cannot be reached" in line_of(result, "KFP")
    assert result.output.rstrip().endswith("Not usable: KFP")
