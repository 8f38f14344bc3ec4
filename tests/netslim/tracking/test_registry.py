"""Which model becomes a version, which version becomes the champion, and that it can be loaded and served."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from netslim import tracking
from netslim.results.run_results import RunResults
from tests.helpers.mlflow_server import MlflowServer
from tests.helpers.processes import environment_without, free_port, wait_until
from tests.helpers.results import changed

RecordTo = Callable[[str, str], None]


def with_values(
    results: RunResults, errors: tuple[float, ...], macs: tuple[int, ...], loss: str = "0.5"
) -> RunResults:
    rows = zip(results.rows, errors, macs, strict=True)
    rows_now = tuple(changed(row, test=error, macs=size) for row, error, size in rows)
    return RunResults(rows_now, {**results.constants, "max_error_increase": loss})


def versions(server: MlflowServer, name: str) -> tuple[dict[str, str], str]:
    """Run keys by version, and which version is the champion."""
    found = server.call(f"registered-models/get?name={name}")["registered_model"]
    (alias,) = found["aliases"]
    assert alias["alias"] == "champion"
    listed = server.call(f"model-versions/search?filter=name%3D%27{name}%27")["model_versions"]
    keys = {v["version"]: {t["key"]: t["value"] for t in v["tags"]}["netslim.key"] for v in listed}
    return keys, alias["version"]


@pytest.mark.slow
def test_only_a_better_model_replaces_the_champion(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path
) -> None:
    runs = {
        "first": ((1.0, 1.2, 1.4), (9000, 3000, 1000)),
        "larger": ((1.0, 1.2, 1.2), (9000, 3000, 2000)),  # lower error, more FLOPs: not better
        "drifting": (
            (3.0, 3.2, 3.4),
            (9000, 900, 500),
        ),  # its increase over the champion's reference error is 2.4
        "smaller": ((1.1, 1.2, 1.5), (9000, 900, 800)),
    }
    for number, (key, (errors, macs)) in enumerate(runs.items(), 1):
        record_to(server.uri, f"registry-{key}")
        run = with_values(results, errors, macs)
        experiment = "netslim/registry"
        for count in (1, 2, 3):
            rows = RunResults(run.rows[:count], run.constants)
            assert tracking.log_pass(rows, experiment=experiment, bundle=model.parent)
        decided = dataclasses.replace(run.rows[-1], continue_=False)
        ended = RunResults((*run.rows[:-1], decided), run.constants)
        for _ in range(2):  # the second time as a retried step
            logged = tracking.log_pass(ended, experiment=experiment, bundle=model.parent, page=b"<p>")
            assert logged
            assert logged.registered == f"models:/netslim-vgg-registry/{number}"
        keys, champion = versions(server, "netslim-vgg-registry")
        assert champion == ("4" if key == "smaller" else "1"), key
    assert keys == {str(n): f"registry-{key}" for n, key in enumerate(runs, 1)}


@pytest.mark.slow
def test_the_champion_is_loaded_downloaded_and_served(
    server: MlflowServer, record_to: RecordTo, results: RunResults, model: Path, tmp_path: Path
) -> None:
    record_to(server.uri, "served")
    run = with_values(results, (1.0, 1.2, 1.4), (9000, 3000, 1000))
    ended = dataclasses.replace(run.rows[-1], continue_=False)
    run = RunResults((*run.rows[:-1], ended), run.constants)
    logged = tracking.log_pass(run, experiment="netslim/served", bundle=model.parent, page=b"<p>")
    assert logged
    assert logged.registered
    import mlflow

    mlflow.set_tracking_uri(server.uri)
    uri = "models:/netslim-vgg-served@champion"
    images = np.random.default_rng(0).standard_normal((3, 1, 2, 2), np.float32)
    logits = onnxruntime.InferenceSession(model).run(None, {"input": images})[0]
    np.testing.assert_array_equal(mlflow.pyfunc.load_model(uri).predict(images)["logits"], logits)
    fetched = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    assert (fetched / "model.onnx").read_bytes() == model.read_bytes()

    port = free_port()
    command = [*(sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen(
            command,
            env={**environment_without("MLFLOW_"), "MLFLOW_TRACKING_URI": server.uri, "PATH": path},
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:

        def ready() -> bool:
            assert serving.poll() is None, (tmp_path / "log").read_text()
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).status == 200
            except OSError:
                return False

        wait_until(ready, "the model is served", seconds=240)
        assert serve(port, images.tolist())["predictions"]["logits"] == logits.tolist()
        with pytest.raises(urllib.error.HTTPError, match="400"):
            serve(port, [[1.0, 2.0]])
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait()


def serve(port: int, images: list[Any]) -> Any:
    body = json.dumps({"inputs": images}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
