"""Trainings whose steps are recorded have the bits of those that are not."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netslim import sparsity
from netslim.data import PackedDataset
from netslim.errors import TrainingError
from netslim.training import graph_step, step_runner, trainer
from netslim.training.graph_step import Capture
from netslim.training.train import TrainResult, train
from tests.helpers.corners import corners, network, recipe, same
from tests.helpers.recorded_step import Counted, as_it_is, record


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return corners(tmp_path_factory.mktemp("corners"))


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Capture | None], Counted]:
    """A function that makes a CPU record its steps by a capture."""

    def function(capture: Capture | None) -> Counted:
        counted = Counted(capture or as_it_is)
        for module in (graph_step, trainer):
            monkeypatch.setattr(module, "capture_for", lambda device: counted if capture else None)
        return counted

    return function


@pytest.fixture
def trained(use: Callable[[Capture | None], Counted], dataset: PackedDataset) -> Any:
    """A function that trains by a capture; it returns the network, the result, and the counts."""

    def function(
        capture: Capture | None, model: nn.Module, changes: dict[str, Any], **more: Any
    ) -> tuple[nn.Module, TrainResult, Counted]:
        counted = use(capture)
        teacher = network(9) if changes.get("distill") else None
        result = train(model, dataset, recipe(**changes), seed=7, teacher=teacher, device="cpu", **more)
        return model, result, counted

    return function


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lambda_": 0.01},
        {"lambda_": 0.01, "penalty": "smooth-l1", "schedule": "cosine"},
        {"lambda_": 0.01, "penalty": "proximal", "milestones": (0.2, 0.4, 0.7)},
        {"label_smoothing": 0.1, "distill": 0.5, "temperature": 2.0},
        {"augment": "affine"},
        {"augment": "pad4flip", "precision": "bf16", "total_shrinkage": 0.5, "select": "val"},
    ],
    ids=["plain", "l1", "smooth-l1", "proximal", "distill", "affine", "bf16"],
)
def test_a_recorded_training_has_the_same_bits(trained: Any, changes: dict[str, Any]) -> None:
    """Dropout, momentum, BatchNorm's statistics, the schedule, and the loss that the history shows."""
    model, result, counted = trained(record, network(dropout=0.3), changes)
    expected, by_python, _ = trained(as_it_is, network(dropout=0.3), changes)
    assert (counted.recordings, counted.replays) == (1, 18)
    assert same(model, expected)
    assert result.error == by_python.error
    losses = [[row["train/loss"] for row in each.history] for each in (result, by_python)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("penalty", ["l1", "proximal"])
def test_numbers_in_tensors_train_as_plain_numbers_do(trained: Any, penalty: str) -> None:
    """With rates and a lambda that float32 holds exactly, the network is that of a usual training."""
    changes = {"lr": 0.125, "schedule": "constant", "lambda_": 2.0**-7, "penalty": penalty}
    model, result, _ = trained(record, network(), changes)
    usual, expected, counted = trained(None, network(), changes)
    assert counted.replays == 0
    for name, value in usual.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-6, atol=1e-6)
    assert result.sparsity == expected.sparsity


def test_a_training_is_resumed_with_the_same_bits(
    trained: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"lambda_": 0.02, "penalty": "proximal"}
    unbroken, expected, _ = trained(record, network(dropout=0.3), changes)

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    kept = {"checkpoint_dir": tmp_path, "checkpoint_every": 0}
    with pytest.raises(KeyboardInterrupt):
        trained(record, network(dropout=0.3), changes, on_epoch=stop, **kept)
    model, result, counted = trained(record, network(dropout=0.3), changes, **kept)
    assert (result.resumed_at, counted.replays) == (11, 7)
    assert same(model, unbroken)
    assert [row["train/loss"] for row in result.history] == [row["train/loss"] for row in expected.history]


def test_a_lambda_that_changes_reaches_a_recorded_step(
    use: Callable[[Capture | None], Counted], dataset: PackedDataset
) -> None:
    def factors(capture: Capture, change: float) -> Tensor:
        use(capture)
        model = network().train()
        settings = recipe(lambda_=0.2, penalty="proximal")
        training = trainer.Trainer(model, dataset, settings, seed=0, teacher=None, device=torch.device("cpu"))
        for epoch in range(3):
            for unit in training.units(epoch):
                training.train_step(unit)
                training.lambda_ *= change
        return torch.cat([gamma for _, gamma in sparsity.scaling_factors(model)]).detach()

    assert torch.equal(factors(record, 0.8), factors(as_it_is, 0.8))
    assert not torch.equal(factors(record, 0.8), factors(record, 1.0))


def test_auto_takes_the_faster_precision_and_a_resumed_training_the_same(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 is slower here, by a clock that adds a second for each step with it."""
    monkeypatch.setattr(step_runner, "TRIAL_PAYS", 18)
    monkeypatch.setattr(step_runner, "default_precision", lambda device: "bf16")
    late, run = [0.0], step_runner.StepRunner.run

    def slow(self: step_runner.StepRunner, *arguments: Any) -> None:
        late[0] += self.precision == "bf16"
        run(self, *arguments)

    monkeypatch.setattr(step_runner.StepRunner, "run", slow)
    monkeypatch.setattr(step_runner.StepRunner, "_clock", lambda self: late[0])
    model, result, counted = trained(record, network(dropout=0.3), {"precision": "auto", "lambda_": 0.01})
    expected, _, _ = trained(record, network(dropout=0.3), {"precision": "tf32", "lambda_": 0.01})
    assert result.precision == "tf32"
    assert same(model, expected)  # the trial left nothing behind
    assert (counted.recordings, counted.replays) == (2, 2 * (1 + step_runner.TRIAL_STEPS) + 18)
    _, short, _ = trained(record, network(), {"precision": "auto", "epochs": 2})
    assert short.precision == "bf16"


def test_divergence_is_found_in_a_recorded_training(trained: Any) -> None:
    with pytest.raises(TrainingError, match="became NaN or infinite in epoch 1 of 3"):
        trained(record, network(), {"lr": 1e20})


def test_without_graphs_nothing_is_recorded(trained: Any) -> None:
    model, _, counted = trained(record, network(), {}, graphs=False)
    expected, _, _ = trained(record, network(), {})
    assert counted.recordings == 0
    assert same(model, expected)


class Odd(nn.Module):
    """A network that a graph cannot repeat."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.network, self.what, self.calls = network(), what, 0

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images)
        if self.training:
            if self.what == "reads" and outputs.mean().item() > 1e9:
                return outputs * 0
            if self.what == "counts":
                self.calls += 1
                return outputs * (1 + self.calls / 100)
            if self.what == "draws":
                return outputs * (1 + random.random() / 10)
            if self.what == "draws by numpy":
                return outputs * (1 + float(np.random.rand()) / 10)
        return outputs


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("reads", "operation not permitted"),
        ("counts", "the network changes calls, a plain number, in each step"),
        ("draws", "draws random numbers without torch"),
        ("draws by numpy", "draws random numbers without torch"),
    ],
)
def test_a_network_that_cannot_be_recorded_trains_as_usual_and_the_log_says_why(
    trained: Any, caplog: pytest.LogCaptureFixture, what: str, reason: str
) -> None:
    def seed() -> None:
        random.seed(1)
        np.random.seed(1)

    seed()
    with caplog.at_level(logging.WARNING):
        model, _, counted = trained(record, Odd(what), {})
    seed()
    expected, _, _ = trained(record, Odd(what), {}, graphs=False)
    assert (counted.recordings, counted.replays) == (1, 0)
    assert same(model, expected)
    assert [record.message for record in caplog.records if reason in record.message]
