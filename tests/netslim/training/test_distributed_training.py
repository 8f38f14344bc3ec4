"""Training in several processes against training in one, with the same batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from netslim import data
from netslim.training import distributed
from netslim.training.recipe import Recipe
from netslim.training.train import TrainResult, train
from tests.helpers.ranks import run_in_ranks

pytestmark = pytest.mark.slow

# Run here in one process, and in several processes. Batch sizes of 75 make the shards unequal.
SCENARIOS: dict[str, dict[str, Any]] = {
    "l1": {"lambda_": 0.01},
    "proximal": {"lambda_": 0.01, "penalty": "proximal", "batch_size": 75},
    "three": {"lambda_": 0.01, "batch_size": 100},
    "select": {"select": "val", "lr": 0.4},
    "distill": {"distill": 0.5, "label_smoothing": 0.1, "batch_size": 75},
    "adversarial": {"adversarial": 1.0, "batch_size": 75},
}
SEED = 5


class ToDouble(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.double()


class Network(nn.Sequential):
    """In double precision, so that a mistake is larger than rounding errors."""

    def __init__(self, dropout: float) -> None:
        super().__init__(
            ToDouble(),
            nn.Conv2d(1, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride=2),
            nn.BatchNorm2d(6, momentum=None),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(54, 16),
            nn.BatchNorm1d(16, affine=False),
            nn.Linear(16, 10),
        )
        self.unused = nn.Parameter(torch.ones(3))  # has no gradient and must not change


def network(seed: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return Network(dropout).double()


def recipe(**changes: Any) -> Recipe:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 100, "lr": 0.05, "threads": 1, "precision": "fp32"}
    return Recipe(**(settings | changes))


def run(name: str, dataset: data.PackedDataset, **paths: Any) -> tuple[nn.Module, TrainResult]:
    settings = recipe(**SCENARIOS[name])
    model, teacher = network(0), network(1) if settings.distill else None
    return model, train(model, dataset, settings, seed=SEED, teacher=teacher, device="cpu", **paths)


def train_in_rank(folder: Path, name: str) -> None:
    """In each process: train, and write the weights and the result."""
    dataset = data.open_dataset(folder / "digits")
    model, result = run(name, dataset, history_path=folder / f"{name}.jsonl")
    rank = distributed.rank()
    save_file(dict(model.state_dict()), folder / f"{name}-{rank}.safetensors")
    values = {"error": result.error, "history": result.history, "lambda": result.lambda_}
    (folder / f"{name}-{rank}.json").write_text(json.dumps(values))


def resume_in_rank(folder: Path) -> None:
    """In each process: train without a break, and again with a break after five steps; with dropout."""
    dataset, rank = data.open_dataset(folder / "digits"), distributed.rank()

    class StopHereError(Exception):
        pass

    def attempt(model: nn.Module, checkpoints: Path | None) -> TrainResult:
        return train(
            model,
            dataset,
            recipe(lambda_=0.01, penalty="proximal"),
            seed=SEED,
            checkpoint_dir=checkpoints,
            checkpoint_every=0,
            history_path=folder / "resumed.jsonl",
            device="cpu",
        )

    seeds = []

    def stop_at_the_sixth_step(module: nn.Module, inputs: Any) -> None:
        seeds.append(torch.initial_seed())
        if len(seeds) > 5:
            raise StopHereError

    unbroken, broken, resumed = network(0, 0.4), network(0, 0.4), network(0, 0.4)
    expected = attempt(unbroken, None)
    broken.register_forward_pre_hook(stop_at_the_sixth_step)
    try:
        attempt(broken, folder / "checkpoints")
    except StopHereError:
        result = attempt(resumed, folder / "checkpoints")
    save_file(dict(unbroken.state_dict()), folder / f"unbroken-{rank}.safetensors")
    save_file(dict(resumed.state_dict()), folder / f"resumed-{rank}.safetensors")
    values = [result.resumed_at, result.history, expected.history]
    (folder / f"resumed-{rank}.json").write_text(json.dumps(values))
    (folder / f"seeds-{rank}.json").write_text(json.dumps(seeds))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset, and the results of two processes in most scenarios and of three in one."""
    folder = tmp_path_factory.mktemp("together")
    data.prepare("digits", folder / "digits", validation=100)
    in_two = ",".join(f"train_in_rank:{name}" for name in SCENARIOS if name != "three")
    run_in_ranks(__file__, folder, f"2={in_two},resume_in_rank", "3=train_in_rank:three")
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> data.PackedDataset:
    return data.open_dataset(folder / "digits")


def weights(folder: Path, name: str, rank: int) -> dict[str, Tensor]:
    return load_file(folder / f"{name}-{rank}.safetensors")


@pytest.mark.parametrize("name", SCENARIOS)
def test_several_processes_give_the_result_of_one(
    name: str, dataset: data.PackedDataset, folder: Path, tmp_path: Path
) -> None:
    model, result = run(name, dataset, history_path=tmp_path / "history.jsonl")
    expected, found = model.state_dict(), weights(folder, name, 0)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-5)
    values = json.loads((folder / f"{name}-0.json").read_text())
    assert values["lambda"] == result.lambda_
    assert values["error"] == pytest.approx(result.error, abs=0.6)  # five of the 797 test images
    for row, expected_row in zip(values["history"], result.history, strict=True):
        assert row.keys() == expected_row.keys()
        assert row["train/loss"] == pytest.approx(expected_row["train/loss"], rel=1e-3)
        assert row["train/error"] == pytest.approx(expected_row["train/error"], abs=0.3)
        assert row["val/error"] == pytest.approx(expected_row["val/error"], abs=2)
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == values["history"]  # written by one process only


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_processes_have_the_same_bits(name: str, folder: Path) -> None:
    first, second = weights(folder, name, 0), weights(folder, name, 1)
    assert all(torch.equal(first[key], second[key]) for key in first)
    values = [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
    assert values[0]["error"] == values[1]["error"]


def test_a_resumed_training_of_two_processes_equals_an_unbroken_one(folder: Path) -> None:
    for rank in (0, 1):
        unbroken, resumed = weights(folder, "unbroken", rank), weights(folder, "resumed", rank)
        assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)
        resumed_at, history, expected = json.loads((folder / f"resumed-{rank}.json").read_text())
        assert resumed_at == 5
        assert [row | {"ts": 0} for row in history] == [row | {"ts": 0} for row in expected]


def test_every_step_of_every_process_has_another_seed(folder: Path) -> None:
    seeds = [json.loads((folder / f"seeds-{rank}.json").read_text()) for rank in (0, 1)]
    assert len({*seeds[0], *seeds[1]}) == 12  # six steps in each of two processes


def test_one_process_continues_from_the_checkpoint_of_two(
    dataset: data.PackedDataset, folder: Path, tmp_path: Path
) -> None:
    model, kept = network(0, 0.4), tmp_path / "checkpoints"
    kept.mkdir()
    steps = len(dataset.split("train")) // 100
    for file in (folder / "checkpoints").iterdir():
        if file.name < f"step-{steps:09d}":  # without the last one
            (kept / file.name).write_bytes(file.read_bytes())
    settings = recipe(lambda_=0.01, penalty="proximal")
    result = train(model, dataset, settings, seed=SEED, checkpoint_dir=kept, device="cpu")
    assert result.resumed_at == steps - 1
    assert not result.refused
    (row,) = result.history
    (expected,) = json.loads((folder / "resumed-0.json").read_text())[1]
    # Equal except for the dropout of one step.
    assert row["train/loss"] == pytest.approx(expected["train/loss"], rel=0.05)
