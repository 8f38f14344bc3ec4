"""The tracking server of the manifests, for real: its own command lines and environment, PostgreSQL and an S3
API over the network, and a whole slimming run by a client that holds no keys.

Only addresses differ from a cluster's: what the manifest calls netslim-postgres:5432 is here a port of this
machine, as are the server's own and the object store's.
"""

from __future__ import annotations

import base64
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg2
import pytest
from moto.server import ThreadedMotoServer

from netslim import tracking
from tests.helpers.processes import environment_without, free_port
from tests.helpers.rendered import of_kind, render

pytestmark = pytest.mark.cluster

OVERLAY = "overlays/gpu-cluster"
PASSWORD, KEYS = (
    "a p@ss/word:with everything",
    {"AWS_ACCESS_KEY_ID": "server", "AWS_SECRET_ACCESS_KEY": "only"},
)
SECRETS = {"netslim-tracking": {"PGPASSWORD": PASSWORD}, "netslim": KEYS}
CONFIG = "base: {epochs: 1}\nsparse: {epochs: 1}\ntune: {epochs: 1}\nmax_loss: 100\npasses: 1\n"
NAMESPACE = "netslim"


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """The port of a database server with the manifest's user and database, which wants the password."""
    installed = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    installed += [Path(path).parent for path in [shutil.which("initdb")] if path]
    if not installed:
        pytest.fail("TRACKING SERVER NOT TESTED: PostgreSQL is not installed (apt-get install postgresql)")
    as_user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:  # PostgreSQL refuses to be root
            user = pwd.getpwnam("postgres")
            as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, folder / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
        data, port = folder / "data", free_port()
        make = [installed[0] / "initdb", "-D", data, "--username=mlflow", "--auth=scram-sha-256"]
        make += [f"--pwfile={folder / 'password'}"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **as_user)
        serve = [installed[0] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(serve, stderr=log, cwd=folder, **as_user) as server,
        ):
            wait_for(lambda: connect(port, "postgres").close(), server, folder / "log")
            with closing(connect(port, "postgres")) as session:
                session.autocommit = True
                session.cursor().execute("create database mlflow")
            yield port
            server.send_signal(signal.SIGQUIT)  # at once: whoever is still connected does not matter


def connect(port: int, database: str) -> Any:
    return psycopg2.connect(host="127.0.0.1", port=port, user="mlflow", password=PASSWORD, dbname=database)


def wait_for(attempt: Any, process: subprocess.Popen[Any], log: Path) -> None:
    """Try until it works; a process that ends, or two minutes, are too much."""
    deadline = time.monotonic() + 120
    while True:
        try:
            attempt()
            return
        except (OSError, psycopg2.OperationalError, http.client.HTTPException):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


@dataclass
class Server:
    """The tracking server, and what it stands on."""

    port: int
    postgres: int
    store: Any
    bucket: str

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, host: str, path: str = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    ) -> tuple[int, str]:
        """The status and the body of a GET that calls the server `host`."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("Host", host)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def environment(container: dict[str, Any], addresses: dict[str, str]) -> dict[str, str]:
    """The variables of a container, as the kubelet would put them together."""
    settings = {name: thing["data"] for name, thing in of_kind(render(OVERLAY), "ConfigMap").items()}
    found: dict[str, str] = {}
    for variable in container["env"]:
        origin = variable.get("valueFrom", {})
        if "fieldRef" in origin:
            assert origin["fieldRef"]["fieldPath"] == "metadata.namespace"
            found[variable["name"]] = NAMESPACE
        elif "secretKeyRef" in origin:
            found[variable["name"]] = SECRETS[origin["secretKeyRef"]["name"]][origin["secretKeyRef"]["key"]]
        elif "configMapKeyRef" in origin:
            found[variable["name"]] = settings[origin["configMapKeyRef"]["name"]][
                origin["configMapKeyRef"]["key"]
            ]
        else:
            found[variable["name"]] = variable["value"]
        for told, real in addresses.items():
            found[variable["name"]] = found[variable["name"]].replace(told, real)
    return found


def command(container: dict[str, Any], variables: dict[str, str], changes: dict[str, str]) -> list[str]:
    """The command of a container, its variables put in; mlflow is the one of this environment."""
    words = [re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], word) for word in container["command"]]
    assert words[0] == "mlflow"
    return [sys.executable, "-m", *(changes.get(word, word) for word in words)]


@pytest.fixture(scope="module")
def server(postgres: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    spec = of_kind(render(OVERLAY), "Deployment")["netslim-tracking"]["spec"]["template"]["spec"]
    (tables,), (mlflow,) = spec["initContainers"], spec["containers"]
    with object_store() as address:
        settings = of_kind(render(OVERLAY), "ConfigMap")["netslim"]["data"]
        bucket = urlsplit(settings["ARTIFACTS"]).netloc
        addresses = {
            "netslim-postgres:5432": f"127.0.0.1:{postgres}",
            settings["AWS_ENDPOINT_URL_S3"]: address,
            bucket: bucket.lower(),  # CHANGE-ME is no name of a bucket
        }
        store = boto3.client("s3", endpoint_url=address, aws_access_key_id="a", aws_secret_access_key="b")
        store.create_bucket(Bucket=bucket.lower())
        variables = environment(mlflow, addresses)
        inherited = environment_without("AWS_", "MLFLOW_", "PG")
        folder, port = tmp_path_factory.mktemp("server"), free_port()
        surroundings = {**inherited, **variables, "HOME": str(folder)}
        for _ in range(2):  # again, as with every restart of the pod
            subprocess.run(
                command(tables, variables, {}), env=surroundings, cwd=folder, check=True, capture_output=True
            )
        words = command(
            mlflow, variables, {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
        )
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                words, env=surroundings, cwd=folder, stdout=log, stderr=log, start_new_session=True
            ) as process,
        ):
            running = Server(port, postgres, store, bucket.lower())

            def ready() -> None:
                probe = mlflow["readinessProbe"]["httpGet"]
                (host,) = [header["value"] for header in probe["httpHeaders"] if header["name"] == "Host"]
                if running.ask(host, probe["path"])[0] != 200:
                    raise ConnectionError

            wait_for(ready, process, folder / "log")
            yield running
            process.terminate()


@contextmanager
def object_store() -> Iterator[str]:
    store = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        store.stop()


def test_names_of_the_cluster_are_answered_and_foreign_ones_are_not(server: Server) -> None:
    for host in (
        "netslim-tracking:5000",
        f"netslim-tracking.{NAMESPACE}.svc.cluster.local:5000",
        "localhost:8080",
    ):
        assert server.ask(host)[0] == 200, host
    for host in (
        "evil.example",
        "netslim-tracking.evil.example:5000",
        f"{socket.gethostname()}.example:5000",
    ):
        status, told = server.ask(host)
        assert status == 403, host
        assert "DNS rebinding" in told


def test_the_probe_of_life_answers_whoever_asks(server: Server) -> None:
    assert server.ask("10.1.2.3:5000", "/health")[0] == 200


@pytest.fixture(scope="module")
def slimmed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tracking.RecordedRun:
    """What the server holds after a whole run of a client that has no keys of the object store."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "run.yaml").write_text(CONFIG)
    keyless = environment_without("AWS_", "MLFLOW_")
    keyless |= {"HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true", "OMP_NUM_THREADS": "1"}
    words = ["netslim", "run", "--config", "run.yaml", "--output", "out", "--tracking-uri", server.uri]
    done = subprocess.run(
        [sys.executable, "-m", *words], env=keyless, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return tracking.read_run(server.uri, "netslim/digits")


def test_a_whole_run_is_in_postgres(server: Server, slimmed: tracking.RecordedRun) -> None:
    assert slimmed.status == "FINISHED"
    assert [row.index for row in slimmed.results.rows] == [0, 1]
    with closing(connect(server.postgres, "mlflow")) as session:
        cursor = session.cursor()
        cursor.execute("select count(*) from runs where status = 'FINISHED'")
        assert cursor.fetchone()[0] >= 3, "the pipeline's run and one of each pass"
        cursor.execute("select count(*) from metrics where key = 'eval/error'")
        assert cursor.fetchone()[0] >= 2


def test_its_artifacts_are_in_s3_where_the_manifest_says(
    server: Server, slimmed: tracking.RecordedRun
) -> None:
    listed = server.store.list_objects_v2(Bucket=server.bucket)["Contents"]
    settings = of_kind(render(OVERLAY), "ConfigMap")["netslim"]["data"]
    prefix = urlsplit(settings["ARTIFACTS"]).path.strip("/")
    keys = [entry["Key"] for entry in listed]
    assert all(key.startswith(f"{prefix}/") for key in keys)
    assert any(key.endswith(".onnx") for key in keys)
    assert any(key.endswith("report.html") for key in keys)


def test_the_manifests_secrets_hold_no_values_and_this_test_used_its_own() -> None:
    for secret in of_kind(render("secrets"), "Secret").values():
        assert {base64.b64decode(value) for value in secret["data"].values()} == {b""}
    assert PASSWORD not in " ".join(str(thing) for thing in render(OVERLAY))
