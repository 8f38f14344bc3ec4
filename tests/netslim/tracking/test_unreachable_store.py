"""A client outside of the cluster: it reaches the tracking server, but not the server's object store.

The server has the environment of the manifests, so its store is `seaweedfs.kubeflow`. The server reaches it
by a proxy. The client has a proxy that refuses, so the test needs no DNS, and a failure takes no time.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer
from rich.console import Console

from netslim import report, tracking
from netslim.errors import TrackingError
from netslim.results.run_results import RunResults

MANIFESTS = Path(__file__).parents[3] / "manifests"
SETTINGS = dict(
    line.split("=", 1) for line in (MANIFESTS / "overlays/local/settings.env").read_text().splitlines()
)
EXPERIMENT, KEY, WIDTH = "netslim/outside", "outside", 120


def variables() -> dict[str, str]:
    """The environment of the tracking server in the manifests."""
    manifests = yaml.safe_load_all((MANIFESTS / "base/tracking.yaml").read_text())
    (deployment,) = [thing for thing in manifests if thing["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: value(variable) for variable in container["env"]}


def value(variable: dict[str, Any]) -> str:
    match variable:
        case {"value": str(text)}:
            return text
        case {"valueFrom": {"configMapKeyRef": {"key": key}}}:
            return SETTINGS[key]
        case _:
            return "any"  # a secret or the namespace; nothing here checks them


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 API with the manifests' bucket. As a proxy it answers for the manifests' store."""
    monkeypatch.setenv("MOTO_S3_CUSTOM_ENDPOINTS", SETTINGS["AWS_ENDPOINT_URL_S3"])
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    bucket = SETTINGS["ARTIFACTS"].split("/")[2]
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=bucket)
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def uri(
    store: str, make_server: Callable[..., Any], record_to: Callable[[str, str], None], results: RunResults
) -> str:
    """A tracking server that holds a run."""
    proxy = {"http_proxy": store, "no_proxy": ""}
    server = make_server(artifacts=SETTINGS["ARTIFACTS"], environment=variables() | proxy)
    record_to(server.uri, KEY)
    assert tracking.log_pass(results, experiment=EXPERIMENT)
    return str(server.uri)


class Refusing(ThreadingHTTPServer):
    """A proxy that refuses every request, and keeps the addresses that it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        server: Refusing

        def do_GET(self) -> None:
            self.server.asked.append(self.path)
            self.send_error(403)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.asked: list[str] = []


@pytest.fixture
def outside() -> Iterator[Refusing]:
    with Refusing() as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        yield proxy
        proxy.shutdown()


def show(uri: str, outside: Refusing, **settings: str) -> subprocess.CompletedProcess[str]:
    """`netslim show` by a user without keys."""
    ours = ("AWS_", "MLFLOW_", "NETSLIM_")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    environment |= {"http_proxy": f"http://127.0.0.1:{outside.server_port}", "no_proxy": "127.0.0.1"}
    environment |= {"COLUMNS": str(WIDTH), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", **settings}
    words = ["show", KEY, "--dataset", EXPERIMENT.removeprefix("netslim/"), "--tracking-uri", uri]
    command = [sys.executable, "-m", "netslim", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_show_gets_files_from_the_server_and_not_from_its_store(
    uri: str, outside: Refusing, results: RunResults
) -> None:
    done = show(uri, outside)
    assert done.returncode == 0, done.stderr
    expected = Console(file=io.StringIO(), width=WIDTH, record=True)
    expected.print(report.table(results, width=WIDTH))
    heading, _, rest = done.stdout.partition("\n")
    assert heading.startswith(f"Run {KEY} in {EXPERIMENT}, started ")
    assert rest.startswith(expected.export_text())
    assert outside.asked == []

    direct = show(uri, outside, MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="true")
    assert direct.returncode == TrackingError.exit_code, "the user's setting wins"
    assert {address.split("/mlpipeline/")[0] for address in outside.asked} == {
        SETTINGS["AWS_ENDPOINT_URL_S3"]
    }
