"""A real MLflow server in a process of its own, and its REST API as a user's script would ask it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from netslim.pruning.layer_report import LayerRow
from netslim.results.measures import Histogram, Size
from netslim.results.run_results import RunResults
from netslim.storage.atomic import sha256
from netslim.tracking.client import mlflow_at
from netslim.tracking.destination import default_uri
from tests.helpers.results import pass_result


class Server:
    """`mlflow server` with SQLite and proxied artifacts; it can be killed and started again.

    Args:
        artifacts: where the server keeps them; a folder of its own by default.
        environment: variables that the server's process gets and its clients do not.
    """

    def __init__(
        self, folder: Path, *, artifacts: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.artifacts = artifacts or str(folder / "artifacts")
        self.environment = dict(environment or {})
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--workers", "1"),
            *("--artifacts-destination", self.artifacts),
        ]
        self.log = (self.folder / "server.log").open("a")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        self.process = subprocess.Popen(
            command,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment | self.environment,
            cwd=self.folder,
        )
        _wait_until(self._healthy, 90, f"the server answers; its log is {self.log.name}")

    def _healthy(self) -> bool:
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET, or POST with a body, of one REST method: `ask("runs/get?run_id=...")`."""
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def experiment(self, name: str) -> str:
        return self.ask(f"experiments/get-by-name?experiment_name={name}")["experiment"]["experiment_id"]

    def runs(self, experiment: str, key: str) -> dict[str, Any]:
        """The runs of one pipeline run by their names; two of one name would be a fault."""
        body = {"experiment_ids": [self.experiment(experiment)], "filter": f"tags.`netslim.run` = '{key}'"}
        found = self.ask("runs/search", body).get("runs", [])
        names = [run["info"]["run_name"] for run in found]
        assert len(set(names)) == len(names), names
        return dict(zip(names, found, strict=True))

    def models(self, experiment: str, key: str) -> Any:
        """The MLflow models of one pipeline run."""
        wanted = f"tags.`netslim.key` LIKE '{key}/%'"
        body = {"experiment_ids": [self.experiment(experiment)], "filter": wanted}
        return self.ask("logged-models/search", body)["models"]

    def history(self, run: Any, metric: str) -> list[tuple[int, float, int]]:
        """(step, value, timestamp) of a metric's points, in the order of steps."""
        path = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={metric}"
        points = self.ask(path).get("metrics", [])
        return sorted((int(p.get("step", 0)), p["value"], int(p["timestamp"])) for p in points)


def _wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, _empty_database: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(_empty_database, folder / "mlflow.db")
    started = Server(folder)
    yield started
    started.kill()


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    with mlflow_at(default_uri(folder)), sqlite3.connect(folder / "mlflow.db") as tables:
        # What a server that was started with --artifacts-destination would have put there.
        tables.execute("update experiments set artifact_location = 'mlflow-artifacts:/0'")
        return folder / "mlflow.db"


@pytest.fixture
def database(tmp_path: Path, _empty_database: Path) -> str:
    """The URI of a new database; its fifty migrations, which take seconds, were made once for all tests."""
    shutil.copy(_empty_database, tmp_path / "mlflow.db")
    return default_uri(tmp_path)


@pytest.fixture
def make_server(tmp_path: Path, database: str) -> Iterator[Callable[..., Server]]:
    """Start a server with options of its own, which ends with the test."""
    with ExitStack() as ends:

        def make(**options: Any) -> Server:
            started = Server(tmp_path, **options)
            ends.callback(started.kill)
            return started

        yield make


@pytest.fixture
def own_server(make_server: Callable[..., Server]) -> Server:
    """A server to kill."""
    return make_server()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool], float, str], None]:
    """Wait for something to become true, for so many seconds; else fail and say what did not happen."""
    return _wait_until


@pytest.fixture(autouse=True)
def _no_other_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("MLFLOW_", "NETSLIM_", "KFP_")):
            monkeypatch.delenv(name)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Set server and run key in the environment, as the pipeline does for its steps."""

    def put(uri: str, key: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("NETSLIM_RUN_KEY", key)

    return put


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ONNX file: logits [batch, 4] are the pixels of [batch, 1, 2, 2]."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["logits"])],
        "pixels",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
    )
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def curve(epochs: int, start: int) -> tuple[dict[str, float], ...]:
    """A training curve whose values tell their epoch; times are milliseconds since 1970."""
    return tuple(
        {"step": e, "ts": start + 100 * e, "train/loss": 1 / e, "lr": 0.1, "sparsity/zero_share": e / 100}
        for e in range(1, epochs + 1)
    )


@pytest.fixture
def ledger(model: Path) -> RunResults:
    """A baseline and two passes, each a third of what was before."""
    rows = []
    for index in range(3):
        scale = 3**index
        before = Size(channels=270 // scale, params=2700 // scale, macs=27000 // scale) if index else None
        curves = {"sparse": curve(3, 10_000 * index), "fine_tune": curve(4, 10_000 * index + 5000)}
        row = pass_result(
            index,
            channels=90 // scale,
            params=900 // scale,
            macs=9000 // scale,
            test=1.0 + index / 4,
            trained=1.5,
            pruned=1.75 if index else None,
            onnx_bytes=model.stat().st_size,
            onnx_sha256=sha256(model),
            measured_at=10_000 * index + 9000,
            size_before=before,
            latency_ms={1: 0.5, 32: 8.0 / scale},
            layers=(LayerRow("features.1", 9, 3, 3),) if index else (),
            gammas=Histogram(edges=(0.0, 1.0, 2.0), counts=(5, 4)),
            curves=curves if index else {"base": curve(5, 0)},
            reason="continues" if index < 2 else "done: 2 of 2 passes",
        )
        rows.append(row)
    return RunResults(tuple(rows), {"architecture": "vgg", "dataset": "pixels"})
