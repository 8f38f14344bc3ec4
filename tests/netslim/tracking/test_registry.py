"""Which model becomes a version, which version the champion, and that both can be loaded and served."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
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
from netslim.tracking.registry import best_of
from tests.helpers.results import changed

Place = Callable[[str, str], None]


def told(
    ledger: RunResults, errors: tuple[float, ...], macs: tuple[int, ...], loss: str = "0.5"
) -> RunResults:
    rows = zip(ledger.rows, errors, macs, strict=True)
    rows_now = tuple(changed(row, test=error, macs=size) for row, error, size in rows)
    return RunResults(rows_now, {**ledger.constants, "max_error_increase": loss})


@pytest.mark.parametrize(
    ("errors", "macs", "chosen"),
    [
        ((1.0, 1.25, 1.5), (90, 30, 10), 2),  # 1.5 is just within 1.0 + 0.5
        ((1.0, 1.25, 1.51), (90, 30, 10), 1),
        ((1.0, 9.0, 9.0), (90, 30, 10), 0),
        ((1.0, 1.2, 1.1), (90, 30, 30), 2),  # as many FLOPs: the lower error
    ],
)
def test_the_best_is_the_smallest_that_is_good_enough(
    ledger: RunResults, errors: tuple[float, ...], macs: tuple[int, ...], chosen: int
) -> None:
    found = best_of(told(ledger, errors, macs))
    assert found is not None
    assert (found[0].index, found[1:]) == (chosen, (errors[chosen], 1.0, "test"))


def test_the_validation_error_decides_where_there_is_one(ledger: RunResults) -> None:
    run = told(ledger, (1.0, 9.0, 9.0), (90, 30, 10))
    held_out = tuple(changed(row, validation=2.0 + row.index / 3) for row in run.rows)
    found = best_of(RunResults(held_out, run.constants))
    assert found is not None
    assert (found[0].index, found[2:]) == (1, (2.0, "validation"))


def test_a_sweep_has_no_best(ledger: RunResults) -> None:
    points = tuple(dataclasses.replace(row, label=f"percent 0.{row.index}") for row in ledger.rows)
    assert best_of(RunResults(points, {"max_error_increase": "1"})) is None


def versions(server: Any, name: str) -> tuple[dict[str, str], str]:
    """Run keys by version, and which version is the champion."""
    found = server.ask(f"registered-models/get?name={name}")["registered_model"]
    (alias,) = found["aliases"]
    assert alias["alias"] == "champion"
    listed = server.ask(f"model-versions/search?filter=name%3D%27{name}%27")["model_versions"]
    keys = {v["version"]: {t["key"]: t["value"] for t in v["tags"]}["netslim.key"] for v in listed}
    return keys, alias["version"]


def test_the_champion_moves_only_to_what_is_better_and_never_twice(
    server: Any, place: Place, ledger: RunResults, model: Path
) -> None:
    runs = {
        "first": ((1.0, 1.2, 1.4), (9000, 3000, 1000)),
        "larger": ((1.0, 1.2, 1.2), (9000, 3000, 2000)),  # better error, more FLOPs: stays
        "drifting": ((3.0, 3.2, 3.4), (9000, 900, 500)),  # good for itself, not for the champion
        "smaller": ((1.1, 1.2, 1.5), (9000, 900, 800)),
    }
    for number, (key, (errors, macs)) in enumerate(runs.items(), 1):
        place(server.uri, f"registry-{key}")
        run = told(ledger, errors, macs)
        experiment = "netslim/registry"
        for count in (1, 2, 3):
            rows = RunResults(run.rows[:count], run.constants)
            assert tracking.log_pass(rows, experiment=experiment, bundle=model.parent)
        tracking.close_run(experiment=experiment, failed=False, files={})
        for _ in range(2):  # a retried step
            loaded_by = tracking.register_run(tracking.recorded(experiment=experiment), experiment=experiment)
            assert loaded_by == f"models:/netslim-vgg-registry/{number}"
        keys, champion = versions(server, "netslim-vgg-registry")
        assert champion == ("4" if key == "smaller" else "1"), key
    assert keys == {str(n): f"registry-{key}" for n, key in enumerate(runs, 1)}


def test_the_champion_is_loaded_fetched_and_served(
    server: Any, place: Place, ledger: RunResults, model: Path, tmp_path: Path, wait_until: Any
) -> None:
    place(server.uri, "served")
    run = told(ledger, (1.0, 1.2, 1.4), (9000, 3000, 1000))
    assert tracking.log_pass(run, experiment="netslim/served", bundle=model.parent)
    assert tracking.register_run(run, experiment="netslim/served")
    import mlflow

    mlflow.set_tracking_uri(server.uri)
    uri = "models:/netslim-vgg-served@champion"
    images = np.random.default_rng(0).standard_normal((3, 1, 2, 2), np.float32)
    logits = onnxruntime.InferenceSession(model).run(None, {"input": images})[0]
    np.testing.assert_array_equal(mlflow.pyfunc.load_model(uri).predict(images)["logits"], logits)
    fetched = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
    assert (fetched / "model.onnx").read_bytes() == model.read_bytes()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*(sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen(
            command,
            env={**os.environ, "MLFLOW_TRACKING_URI": server.uri, "PATH": path},
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

        wait_until(ready, 120, "the model is served")
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
