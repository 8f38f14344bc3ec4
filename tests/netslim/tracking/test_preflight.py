"""What is wrong with a server, found out soon and said in one sentence."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from netslim import tracking
from netslim.errors import TrackingError


def test_a_good_server_passes_and_one_that_cannot_write_artifacts_does_not(own_server: Any) -> None:
    for experiment in ("", "netslim/new"):
        tracking.preflight(own_server.uri, experiment)
    artifacts = own_server.folder / "artifacts"
    assert artifacts.is_dir()  # the server wrote what it then removed
    assert not [file for file in artifacts.rglob("*") if file.is_file()]
    assert own_server.experiment("netslim/new")
    shutil.rmtree(artifacts)
    artifacts.write_text("in the way")
    with pytest.raises(TrackingError, match=r"no artifacts in mlflow-artifacts:/\S+ .*--artifacts-dest"):
        tracking.preflight(own_server.uri, "netslim/new")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives one and the same answer to everything; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack detected",
            r"does not answer to the host name 127\.0\.0\.1:\d+ \(403\)\. Start it .*--allowed-hosts 127",
        ),
        (401, b"You are not authenticated", r"refuses these credentials\. Set MLFLOW_TRACKING_USERNAME"),
        (404, b"<html>a web shop</html>", r"MLflow failed \(.*404.*\)\. The server's log says more"),
    ],
)
def test_refusals_are_explained(status: int, body: bytes, told: str) -> None:
    with answering(status, body) as uri, pytest.raises(TrackingError, match=told) as caught:
        tracking.preflight(uri)
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI = http://127.0.0.1:")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_soon_known() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        start = time.perf_counter()
        with pytest.raises(TrackingError, match=r"cannot be reached \(connection refused\)\. Start"):
            tracking.preflight(uri)
    assert time.perf_counter() - start < 20


def test_a_server_that_hangs_is_known_within_twenty_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        start = time.perf_counter()
        with pytest.raises(TrackingError, match=r"cannot be reached \(timed out\)"):
            tracking.preflight(f"http://127.0.0.1:{hanging.getsockname()[1]}")
    assert time.perf_counter() - start < 20


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(TrackingError, match=r"cannot be reached \(its host name is unknown\)"):
        tracking.preflight("http://no-such-host.invalid:5000")


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:"]
)
def test_folders_and_memory_are_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"MLflow cannot keep runs there\. Give http://"):
        tracking.preflight(uri)


def test_what_mlflow_does_not_know_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI = ftp://host/x: MLflow failed \("):
        tracking.preflight("ftp://host/x")


def test_without_mlflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrackingError, match=r"MLflow is not installed\. pip install 'netslim\[tracking\]'"):
        tracking.preflight(tracking.default_uri(tmp_path))
