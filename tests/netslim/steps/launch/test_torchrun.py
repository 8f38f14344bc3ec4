"""A training step in two processes that torchrun starts: its artifact, its errors, and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from netslim.errors import DataError, PipelineError
from netslim.models import artifact
from netslim.steps import train as step
from netslim.steps.gpu_check import EXPECTED
from netslim.steps.launch.torchrun import run_with_torchrun
from netslim.steps.step_record import read_step_records
from tests.helpers.training_step import arguments

SCRIPT = """
import json, sys
from netslim.steps.launch.torchrun import in_processes

print(in_processes(2, json.loads(sys.argv[1])))
"""


def test_one_artifact_as_one_process_makes_it(dataset: Path, tmp_path: Path) -> None:
    asked = arguments(dataset, tmp_path / "two" / "model", epochs=1)
    two = run_with_torchrun(2, asked)
    one = step.train_step(**{**asked, "model": tmp_path / "one" / "model"})
    assert two.keys() == one.keys()
    ours, theirs = (
        artifact.load_model(tmp_path / name / "model").model.state_dict() for name in ("two", "one")
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-2, atol=1e-3)
    curves = [read_step_records(tmp_path / name / "model")["train"].history for name in ("two", "one")]
    assert curves[0][0]["train/loss"] == pytest.approx(curves[1][0]["train/loss"], rel=1e-3)
    assert len(list((tmp_path / "two" / "checkpoints").iterdir())) == 1


def test_more_than_one_promised_gpu_means_a_process_on_each(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = arguments(dataset, tmp_path / "model")
    heard: list[Any] = []
    monkeypatch.setattr(
        step, "in_processes", lambda count, given: heard.append((count, given)) or {"error": 1.0}
    )
    monkeypatch.setenv(EXPECTED, "4")
    assert step.train_step(**asked) == {"error": 1.0}
    ((count, given),) = heard
    assert count == 4
    assert given == asked | {"start": None, "teacher": None, "strength": "", "experiment": ""}


def test_what_they_raise_is_raised_here_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(DataError) as here:
        step.train_step(**arguments(tmp_path / "nothing", tmp_path / "model"))
    with pytest.raises(DataError) as there:
        run_with_torchrun(2, arguments(tmp_path / "nothing", tmp_path / "model"))
    assert str(there.value) == str(here.value)


def test_a_process_that_ends_without_a_word_is_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="ended without a word"):
        run_with_torchrun(2, {"no": "such argument"})


def test_sigterm_reaches_them_and_leaves_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    asked = arguments(dataset, tmp_path / "model", epochs=400)
    events = tmp_path / "events"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NETSLIM_PROGRESS": str(events)}
    command = [sys.executable, "-c", SCRIPT, json.dumps(asked)]
    with subprocess.Popen(command, env=environment) as process:
        until = time.monotonic() + 90
        while not (events.exists() and events.read_text().count("advance") > 2):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    (kept,) = (tmp_path / "checkpoints").iterdir()
    assert int(kept.name.split("-")[1]) > 0
    assert not (tmp_path / "model").exists()
