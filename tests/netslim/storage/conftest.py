"""A proxy before moto's S3 server that simulates network faults, and a tree of files to transfer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from netslim.storage import s3_requests
from tests.helpers.s3_faults import Answering, Fault


@pytest.fixture
def proxy(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, bucket: str
) -> Iterator[Callable[[Fault], list[str]]]:
    """Start a proxy with faults before the S3 server; returns the list of faults that happened."""
    upstream = urlsplit(s3_endpoint).netloc
    servers = []

    def start(fault: Fault) -> list[str]:
        asked: dict[tuple[str, str], int] = {}
        happened: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                key = (self.command, self.path)
                asked[key] = asked.get(key, -1) + 1
                kind = fault(*key, asked[key])
                if kind:
                    happened.append(kind)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if kind == "hang up":
                    self.close_connection = True
                    return
                if kind == "stall":
                    time.sleep(1)
                if kind == "503":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                connection = HTTPConnection(upstream)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                if kind == "truncate":
                    content = content[: len(content) // 2]
                    self.close_connection = True
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        return happened

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def answering_server() -> Iterator[tuple[str, list[tuple[int, bytes, str]]]]:
    """The address of a server, and a list whose last item is its answer to every request."""
    answers: list[tuple[int, bytes, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            status, body, kind = answers[-1]
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    server.server_close()


@pytest.fixture
def answering(
    answering_server: tuple[str, list[tuple[int, bytes, str]]], monkeypatch: pytest.MonkeyPatch
) -> Answering:
    """A server at boto3's endpoint that gives every request the same answer.

    It is one server for all tests, because boto3 takes a quarter of a second for each new address.
    """
    address, answers = answering_server
    for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 1)

    def start(status: int, body: bytes, kind: str) -> None:
        answers.append((status, body, kind))

    return start


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in {
        "a.bin": b"a" * 1000,
        "deep/er/b.txt": b"b",
        "empty": b"",
        "sp ace+ü.txt": b"c",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
