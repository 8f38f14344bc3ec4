"""A small KFP backend over HTTP: it asks for a token, and fails where the test wants it to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.helpers.kfp_backend import MODELS, RefusedError, Request
from tests.helpers.kfp_state import Cluster

API = "/apis/v2beta1"


@contextmanager
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """Serve `cluster` over HTTP on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"cluster": cluster})) as server:
        cluster.address = f"http://127.0.0.1:{server.server_port}/pipeline"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield cluster
        finally:
            server.shutdown()


class Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        request = f"{method} {parts.path.removeprefix('/pipeline').removeprefix(API)}"
        self.cluster.requests.append(request)
        fault = next((f for f in self.cluster.faults if f.times and re.search(f.pattern, request)), None)
        if fault:
            fault.times -= 1
        try:
            if fault and not fault.late:
                raise RefusedError(fault.status, "no healthy upstream")
            self.authenticate(request)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            given = Request(self.cluster, body, self.headers["Content-Type"] or "").answer(request, query)
            if fault:
                raise RefusedError(fault.status, "upstream request timeout")
            if isinstance(given, bytes):
                self.send(200, "text/plain", given)
            else:
                self.reply(200, MODELS.sanitize_for_serialization(given))
        except RefusedError as refusal:
            if refusal.status == 0:
                self.close_connection = True
                return
            self.reply(refusal.status, {"code": 3, "message": refusal.message, "details": []})

    def reply(self, status: int, content: Any) -> None:
        self.send(status, "application/json", json.dumps(content).encode())

    def send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def authenticate(self, request: str) -> None:
        if not self.cluster.token:
            return
        if self.headers.get("Authorization") != f"Bearer {self.cluster.token}":
            raise RefusedError(401, "Unauthenticated: Request header error: token has expired")
        if self.cluster.forbidden and re.search(self.cluster.forbidden, request):
            raise RefusedError(403, "User 'ann' is not authorized with reason: no RBAC rule")
