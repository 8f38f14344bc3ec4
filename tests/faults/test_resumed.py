"""A local run that is killed in its training continues there, and comes to the same weights, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from signal import SIGTERM

import pytest

from netslim.steps.run_training import run_training
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.step_record import StepRecord, read_step_records
from netslim.steps.training_request import TrainingRequest
from tests.helpers.local_runs import LocalRun, forks
from tests.helpers.processes import wait_until
from tests.helpers.training_run import ARCHITECTURE, RECIPE, SEED

pytestmark = pytest.mark.faults


def epochs_done(output: Path) -> int:
    """The epochs that the training in progress has ended."""
    lines = [
        line for file in output.glob("*/events.jsonl") for line in file.read_text().splitlines(keepends=True)
    ]
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return len({event["metrics"]["loss"] for event in events if event.get("metrics", {}).get("loss")})


def model_of(run: LocalRun) -> Path:
    """The model of the run that ended."""
    (model,) = run.folder.glob("out/artifacts/*/train-sparse/model")
    return model


def test_a_killed_training_continues_with_the_next_run(tmp_path: Path) -> None:
    kept = tmp_path / "out" / "checkpoints"
    with forks("tests.helpers.training_run", tmp_path) as server:
        stopped = server.start(tmp_path)
        wait_until(lambda: epochs_done(tmp_path / "out") > 1, "epochs are trained", seconds=100)
        stopped.kill(SIGTERM)
        assert stopped.wait() == 128 + SIGTERM
        assert list(kept.glob("*/step-*.safetensors"))
        assert not list(tmp_path.glob("out/artifacts/*/train-sparse/model"))
        resumed = server.start(tmp_path)
        assert resumed.wait() == 0, resumed.shown
        record = read_step_records(model_of(resumed)).train
        assert record is not None
        assert record.metrics.resumed_at > 0
    assert not list(kept.iterdir()), "a finished training needs none"

    (dataset,) = tmp_path.glob("out/artifacts/*/prepare-data/dataset")
    request = TrainingRequest(
        stage="sparse",
        dataset=str(dataset),
        model=str(tmp_path / "unbroken"),
        architecture=ARCHITECTURE,
        preset="digits",
        recipe_overrides=RECIPE,
        seed=SEED,
        pass_index=0,
    )
    assert run_training(request).resumed_at == 0
    weights = [folder / "weights.safetensors" for folder in (model_of(resumed), tmp_path / "unbroken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    unbroken = read_step_records(tmp_path / "unbroken").train
    assert unbroken is not None
    assert curve(unbroken) == curve(record), "its curve has every epoch"


def curve(record: StepRecord[TrainMetrics]) -> list[dict[str, float]]:
    """The points of the training, without the times at which they were made."""
    return [{name: value for name, value in point.items() if name != "ts"} for point in record.history]
