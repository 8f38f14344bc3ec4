"""A real MLflow server for all tests of this folder, databases, and results to record."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
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
from netslim.tracking import runs
from netslim.tracking.client import connect
from netslim.tracking.destination import default_uri
from tests.helpers.mlflow_server import MlflowServer
from tests.helpers.results import pass_result


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, _empty_database: Path) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("mlflow")
    shutil.copy(_empty_database, folder / "mlflow.db")
    started = MlflowServer(folder)
    yield started
    started.kill()


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    with connect(default_uri(folder)), sqlite3.connect(folder / "mlflow.db") as tables:
        # As in a database that a server with --artifacts-destination has made.
        tables.execute("update experiments set artifact_location = 'mlflow-artifacts:/0'")
        return folder / "mlflow.db"


@pytest.fixture
def database(tmp_path: Path, _empty_database: Path) -> str:
    """The URI of a new database. Its fifty migrations take seconds, so it is a copy of one for all tests."""
    shutil.copy(_empty_database, tmp_path / "mlflow.db")
    return default_uri(tmp_path)


@pytest.fixture
def make_server(tmp_path: Path, database: str) -> Iterator[Callable[..., MlflowServer]]:
    """Start a server with options of its own, which ends with the test."""
    with ExitStack() as ends:

        def make(**options: Any) -> MlflowServer:
            started = MlflowServer(tmp_path, **options)
            ends.callback(started.kill)
            return started

        yield make


@pytest.fixture
def own_server(make_server: Callable[..., MlflowServer]) -> MlflowServer:
    """A server to kill."""
    return make_server()


@pytest.fixture(autouse=True)
def _no_other_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("MLFLOW_", "NETSLIM_", "KFP_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_wait_for_other_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests with several processes need the pause in which two clients see each other's runs.

    Their processes have the pause: this changes the process of the test only.
    """
    monkeypatch.setattr(runs, "SETTLE", 0.0)
    monkeypatch.setattr(runs, "SLOWNESS", 0.0)


@pytest.fixture
def record_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Set server and run key in the environment, as the pipeline does for its steps."""

    def set_destination(uri: str, key: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("NETSLIM_RUN_KEY", key)

    return set_destination


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
    """A training curve whose values follow from the epoch; times are milliseconds since 1970."""
    return tuple(
        {"step": e, "ts": start + 100 * e, "train/loss": 1 / e, "lr": 0.1, "sparsity/zero_share": e / 100}
        for e in range(1, epochs + 1)
    )


@pytest.fixture
def results(model: Path) -> RunResults:
    """A baseline and two passes, each a third of the size before."""
    rows = []
    for index in range(3):
        scale = 3**index
        before = Size(channels=270 // scale, params=2700 // scale, macs=27000 // scale) if index else None
        curves = {"sparse": curve(3, 10_000 * index), "fine_tune": curve(4, 10_000 * index + 5000)}
        result = pass_result(
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
        rows.append(result)
    return RunResults(tuple(rows), {"architecture": "vgg", "dataset": "pixels"})
