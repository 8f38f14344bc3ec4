"""The check of the tracking server before the first step: each problem is one plain sentence."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from netslim import tracking
from netslim.errors import TrackingError
from tests.helpers.mlflow_server import MlflowServer


@pytest.mark.slow
def test_a_server_that_cannot_write_artifacts_is_refused(server: MlflowServer) -> None:
    artifacts, aside = server.folder / "artifacts", server.folder / "aside"

    def files() -> set[Path]:
        return {file for file in artifacts.rglob("*") if file.is_file()}

    before = files()
    for experiment in ("", "netslim/new"):
        tracking.check_tracking_server(server.uri, experiment)
    assert artifacts.is_dir()  # the server wrote a file and removed it
    assert files() == before
    assert server.experiment("netslim/new")
    artifacts.rename(aside)
    artifacts.write_text("in the way")
    try:
        with pytest.raises(TrackingError, match=r"no artifacts in mlflow-artifacts:/\S+ .*--artifacts-dest"):
            tracking.check_tracking_server(server.uri, "netslim/new")
    finally:
        artifacts.unlink()
        aside.rename(artifacts)  # the server is that of other tests, too


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that gives the same answer to every request."""

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
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack detected",
            r"does not accept requests for the host name 127\.0\.0\.1:\d+ \(403\)\. "
            r"Start it .*--allowed-hosts 127",
        ),
        (401, b"You are not authenticated", r"these credentials \(401\)\. Set MLFLOW_TRACKING_USERNAME"),
        (403, b"Forbidden", r"these credentials \(403\)\. Set MLFLOW_TRACKING_USERNAME"),
        (404, b"<html>a web shop</html>", r"no MLflow server at this address \(404\)\. Set the address"),
        (500, b"<html>out of memory</html>", r"the server failed \(500\)\. See the server's log"),
        (503, b"<html>no upstream</html>", r"the server failed \(503\)\. See the server's log"),
        (200, b"<html>a web shop</html>", r"MLflow failed \(.+\)\. See the server's log"),
    ],
)
def test_error_answers_are_explained(status: int, body: bytes, message: str) -> None:
    with answering(status, body) as uri, pytest.raises(TrackingError, match=message) as caught:
        tracking.check_tracking_server(uri)
    assert str(caught.value).startswith("MLFLOW_TRACKING_URI = http://127.0.0.1:")
    assert "secret" not in str(caught.value)
    assert is_plain(caught.value)


def is_plain(error: TrackingError) -> bool:
    """Whether the message is free of the chains of exceptions that urllib3 and MLflow write."""
    raw = ("ConnectionPool", "Max retries", "Caused by", "Traceback", "object at 0x")
    return not any(words in str(error) for words in raw)


def test_a_server_that_is_down() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TrackingError, match=r"be reached \(connection refused\)\. Start") as caught:
            tracking.check_tracking_server(uri)
    assert is_plain(caught.value)


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TrackingError, match=r"be reached \(timed out\)\. Check the address") as caught:
            tracking.check_tracking_server(uri)
    assert is_plain(caught.value)


@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_server_without_tls(retries: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    with answering(200, b"OK") as uri:
        https = uri.replace("http://", "https://")
        with pytest.raises(TrackingError, match=r"no trusted TLS connection\)\. Write http://") as caught:
            tracking.check_tracking_server(https)
    assert is_plain(caught.value)


def test_a_host_name_that_does_not_exist() -> None:
    with pytest.raises(TrackingError, match=r"its host name is unknown\)\. Correct the host") as caught:
        tracking.check_tracking_server("http://no-such-host.invalid:5000")
    assert is_plain(caught.value)


@pytest.mark.slow
def test_a_server_whose_store_does_not_exist(make_server: Callable[..., MlflowServer]) -> None:
    """The server answers every other request well, so this is found only by writing an artifact."""
    store = {"AWS_ENDPOINT_URL_S3": "http://no-such-store.invalid:9000"}
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_MAX_ATTEMPTS": "1"}
    server = make_server(artifacts="s3://bucket/runs", environment=store | keys)
    expected = (
        r"no artifacts in mlflow-artifacts:/\d+: the server has no store that works \(.*\)\. "
        r"Check on the server: --artifacts-dest"
    )
    with pytest.raises(TrackingError, match=expected) as caught:
        tracking.check_tracking_server(server.uri, "netslim/new")
    assert is_plain(caught.value)


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "./mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///:memory:"]
)
def test_folders_and_memory_are_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"MLflow cannot keep runs there\. Set http://"):
        tracking.check_tracking_server(uri)


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI = ftp://host/x: MLflow failed \("):
        tracking.check_tracking_server("ftp://host/x")


def test_without_mlflow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrackingError, match=r"not installed\. Run: pip install 'netslim\[tracking\]'"):
        tracking.check_tracking_server(tracking.default_uri(tmp_path))
