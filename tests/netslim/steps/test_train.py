"""The dispatcher sends a request to this process, to torchrun or to a TrainJob, and changes nothing in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netslim.errors import PipelineError
from netslim.results.measures import Histogram
from netslim.steps import train
from netslim.steps.gpu_check import EXPECTED
from netslim.steps.launch.trainjob import NODES
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.training_request import TrainingRequest
from tests.helpers.training_step import training_request

METRICS = TrainMetrics(
    stage="base",
    architecture="vgg-digits",
    dataset="digits",
    recipe={},
    seed=3,
    error=1.0,
    lambda_=0.0,
    zero_share=0.0,
    near_zero_share=0.0,
    gammas=Histogram(edges=(0, 1), counts=(4,)),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The calls of the three ways to run a training, by name."""
    made: list[tuple[Any, ...]] = []

    def recorder(name: str) -> Callable[..., TrainMetrics]:
        def call(*arguments: Any) -> TrainMetrics:
            made.append((name, *arguments))
            return METRICS

        return call

    for name in ("run_training", "run_with_torchrun", "run_as_trainjob"):
        monkeypatch.setattr(train, name, recorder(name))
    for variable in (NODES, EXPECTED):
        monkeypatch.delenv(variable, raising=False)
    return made


@pytest.fixture
def request_(tmp_path: Path) -> TrainingRequest:
    return training_request(tmp_path / "dataset", tmp_path / "model")


def test_without_promised_gpus_the_training_runs_here(
    calls: list[tuple[Any, ...]], request_: TrainingRequest
) -> None:
    assert train.train_step(request_) is METRICS
    assert calls == [("run_training", request_)]


def test_several_gpus_mean_one_process_for_each(
    calls: list[tuple[Any, ...]], request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXPECTED, "4")
    assert train.train_step(request_) is METRICS
    assert calls == [("run_with_torchrun", 4, request_)]


def test_nodes_come_before_gpus(
    calls: list[tuple[Any, ...]], request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXPECTED, "4")
    monkeypatch.setenv(NODES, '{"nodes": 2, "gpus": 4, "limits": {}}')
    train.train_step(request_)
    assert calls == [("run_as_trainjob", request_)]


def test_one_promised_gpu_is_checked_before_the_training(
    calls: list[tuple[Any, ...]], request_: TrainingRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise PipelineError("no GPU")

    monkeypatch.setenv(EXPECTED, "1")
    monkeypatch.setattr(train, "check_gpus", refuse)
    with pytest.raises(PipelineError, match="no GPU"):
        train.train_step(request_)
    assert calls == []


def test_a_request_is_the_same_after_json(request_: TrainingRequest) -> None:
    assert TrainingRequest.from_json(json.loads(json.dumps(request_.to_json()))) == request_
