"""A training in two processes that torchrun starts: its artifact, its errors, and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from netslim.errors import DataError, PipelineError
from netslim.models import artifact
from netslim.steps.launch.torchrun import run_with_torchrun
from netslim.steps.run_training import run_training
from netslim.steps.step_record import read_step_records
from tests.helpers.training_step import training_request

SCRIPT = """
import json, sys
from netslim.steps.launch.torchrun import run_with_torchrun
from netslim.steps.training_request import TrainingRequest

run_with_torchrun(2, TrainingRequest.from_json(json.loads(sys.argv[1])))
"""


def test_two_processes_write_the_artifact_of_one(dataset: Path, tmp_path: Path) -> None:
    request = training_request(dataset, tmp_path / "two" / "model", epochs=1)
    two = run_with_torchrun(2, request)
    one = run_training(replace(request, model=str(tmp_path / "one" / "model")))
    assert replace(two, error=0, gammas=one.gammas) == replace(one, error=0)
    assert two.error == pytest.approx(one.error, abs=2)
    ours, theirs = (
        artifact.load_model(tmp_path / name / "model").model.state_dict() for name in ("two", "one")
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-2, atol=1e-3)
    records = [read_step_records(tmp_path / name / "model").train for name in ("two", "one")]
    losses = [record.history[0]["train/loss"] for record in records if record]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(list((tmp_path / "two" / "checkpoints").iterdir())) == 1


def test_an_error_of_a_process_is_raised_here_unchanged(tmp_path: Path) -> None:
    request = training_request(tmp_path / "nothing", tmp_path / "model")
    with pytest.raises(DataError) as here:
        run_training(request)
    with pytest.raises(DataError) as there:
        run_with_torchrun(2, request)
    assert there.value.to_json() == here.value.to_json()


def test_a_process_that_ends_without_a_user_error_is_reported(dataset: Path, tmp_path: Path) -> None:
    broken: Any = "not a number"
    with pytest.raises(PipelineError, match=r"ended without an error \(exit code 1\)"):
        run_with_torchrun(1, replace(training_request(dataset, tmp_path / "model"), seed=broken))


def test_sigterm_reaches_them_and_leaves_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    request = training_request(dataset, tmp_path / "model", epochs=400)
    events = tmp_path / "events"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NETSLIM_PROGRESS": str(events)}
    command = [sys.executable, "-c", SCRIPT, json.dumps(request.to_json())]
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
