"""The compiled pipeline with each step in its own container gives the numbers that it gives without.

Run by `make e2e-docker`, after the images were built.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from PIL import Image

from netslim import tracking
from netslim.results.pass_result import PassResult
from netslim_kfp.components.images import image
from netslim_kfp.pipelines.local.docker import IMAGE_USER
from tests.helpers.processes import environment_without

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]

CONFIG = """\
base: {epochs: 2}
sparse: {epochs: 2, lam: 0.0001}
tune: {epochs: 2}
max_loss: 100
passes: 2
seed: 7
"""
CONTAINERS = {
    image("data"): 1,  # prepare_data
    image("train"): 1 + 2 * 3,  # the baseline; in each pass train_sparse, prune, fine_tune
    image("export"): 3 * 2 + 1,  # export_onnx and evaluate for the baseline and each pass; finish
}


@dataclass
class Ran:
    """One `netslim run`: its rows, where its results are, and the containers that the engine started."""

    output: Path
    rows: tuple[PassResult, ...]
    containers: list[dict[str, Any]]


def run(output: Path, runner: str) -> Ran:
    config = output.parent / f"{runner}.yaml"
    config.write_text(CONFIG)
    environment = environment_without("MLFLOW_")
    command = [sys.executable, "-m", "netslim", "run", "--config", str(config)]
    command += ["--output", str(output), "--runner", runner]
    started = time.time()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=output.parent, env=environment
    )
    logs = "\n".join(log.read_text() for log in output.glob("*/log.txt"))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
    rows = tracking.read_run(tracking.default_uri(output), "netslim/digits").results.rows
    return Ran(output, rows, list(started_since(started)))


def started_since(moment: float) -> Iterator[dict[str, Any]]:
    """The engine's own word on which containers it made since then."""
    with closing(docker.from_env()) as client:
        yield from client.events(
            since=moment,
            until=time.time() + 1,
            decode=True,
            filters={"type": "container", "event": "create"},
        )


@pytest.fixture(scope="module")
def in_containers(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("containers") / "out", "docker")


@pytest.fixture(scope="module")
def in_processes(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("processes") / "out", "subprocess")


def test_each_step_had_a_container_of_its_own_from_its_own_image(in_containers: Ran) -> None:
    made = [event["Actor"]["Attributes"]["image"] for event in in_containers.containers]
    assert Counter(made) == CONTAINERS


def test_no_step_was_root(in_containers: Ran) -> None:
    """What the steps wrote belongs to whom they ran as; the run's own folder and cache are the host's."""
    (run_folder,) = [path.parent for path in in_containers.output.glob("*/run.json")]
    artifacts = in_containers.output / "artifacts"
    steps = [p for p in artifacts.rglob("*") if not p.is_relative_to(artifacts / "cache")]
    assert len([path for path in steps if path.is_file()]) > sum(CONTAINERS.values())
    wanted = IMAGE_USER if os.getuid() == 0 else os.getuid()
    assert {path.stat().st_uid for path in steps} == {wanted}
    assert json.loads((run_folder / "run.json").read_text())["runner"] == "docker"


def test_the_numbers_equal_those_of_the_subprocess_runner(in_containers: Ran, in_processes: Ran) -> None:
    assert [row.index for row in in_containers.rows] == [0, 1, 2]
    for boxed, plain in zip(in_containers.rows, in_processes.rows, strict=True):
        assert (boxed.size, boxed.errors) == (plain.size, plain.errors), boxed.title
    assert in_containers.rows[-1].size.params < in_containers.rows[0].size.params / 2


def test_the_models_are_the_same_to_the_byte(in_containers: Ran, in_processes: Ran) -> None:
    assert [row.onnx_sha256 for row in in_containers.rows] == [row.onnx_sha256 for row in in_processes.rows]


def test_a_downstream_team_runs_the_model_in_the_consumer_image(in_containers: Ran, tmp_path: Path) -> None:
    """The example as it is, without torch, netslim's steps, a network or root."""
    (bundle,) = in_containers.output.glob("*/pass-02")
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copy(ROOT / "examples" / "consume.py", tmp_path)
    from sklearn.datasets import load_digits  # here, because it takes seconds

    digits = load_digits()
    Image.fromarray((digits.images[0] * 15).astype("uint8")).save(tmp_path / "digit.png")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--volume",
        f"{tmp_path}:/here:ro",
    ]
    command += [image("consume"), "python3", "/here/consume.py", "/here/bundle", "/here/digit.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"/here/digit\.png [0-9] [0-9.]+%\n", done.stdout)
