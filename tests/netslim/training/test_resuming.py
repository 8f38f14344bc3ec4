"""Training that is killed and taken up again, against training that is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from torch import nn

from netslim.training.train import train
from tests.helpers.corners import corners, network, recipe, same


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return corners(tmp_path_factory.mktemp("corners"))


class KilledError(Exception):
    pass


def kill_at(model: nn.Module, batch: int) -> nn.Module:
    """Have a model raise at its n-th training batch: an exception in the middle of an epoch."""
    left = [batch]

    def blow(module, inputs):
        if module.training:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError

    model.register_forward_pre_hook(blow)
    return model


@pytest.mark.parametrize("at", [0, 1, 5, 6, 7, 11, 12, 17])
@pytest.mark.parametrize("select", ["last", "val"])
def test_killed_anywhere_and_resumed_equals_unbroken(dataset, tmp_path, at, select):
    """Six batches an epoch, three epochs; dropout, momentum, exact zeros and the best weights all go on."""
    how = recipe(lambda_=0.02, penalty="proximal", select=select)
    unbroken = network(dropout=0.4)
    expected = train(unbroken, dataset, how, seed=7)

    def attempt(model: nn.Module):
        return train(
            model, dataset, how, seed=7, checkpoint_dir=tmp_path / "kept", checkpoint_every=0,
            history_path=tmp_path / "history.jsonl",
        )  # fmt: skip

    with pytest.raises(KilledError):
        attempt(kill_at(network(dropout=0.4), at))
    again = network(dropout=0.4)
    result = attempt(again)
    assert result.resumed_at == at
    assert same(again, unbroken)
    assert (result.error, result.lambda_) == (expected.error, expected.lambda_)
    rows = [{**row, "ts": 0} for row in result.history]
    assert rows == [{**row, "ts": 0} for row in expected.history]
    assert [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()] == list(
        result.history
    )


def test_a_finished_training_is_taken_up_whole(dataset, tmp_path):
    first, second = network(), network()
    one = train(first, dataset, recipe(select="val"), seed=0, checkpoint_dir=tmp_path)
    two = train(second, dataset, recipe(select="val"), seed=0, checkpoint_dir=tmp_path)
    assert two.resumed_at == 18
    assert same(first, second)
    assert one.history == two.history


def test_a_damaged_checkpoint_costs_a_step_and_not_the_result(dataset, tmp_path):
    unbroken, broken, again = network(), network(), network()
    train(unbroken, dataset, recipe(), seed=0)
    train(broken, dataset, recipe(), seed=0, checkpoint_dir=tmp_path, checkpoint_every=0)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    result = train(again, dataset, recipe(), seed=0, checkpoint_dir=tmp_path, checkpoint_every=0)
    assert result.resumed_at == 17
    assert len(result.refused) == 1
    assert "checksum" in result.refused[0]
    assert same(again, unbroken)


@pytest.mark.parametrize("change", ["recipe", "seed", "starting weights"])
def test_another_trainings_checkpoint_is_not_taken_up(dataset, tmp_path, change):
    train(network(), dataset, recipe(), seed=0, checkpoint_dir=tmp_path)
    fresh = network(1 if change == "starting weights" else 0)
    how, seed = recipe(lr=0.05) if change == "recipe" else recipe(), 1 if change == "seed" else 0
    result = train(fresh, dataset, how, seed=seed, checkpoint_dir=tmp_path)
    assert result.resumed_at == 0
    assert f"another training: {change} differ" in result.refused[0]


SCRIPT = """
import pathlib, sys, time, torch
from netslim.data import open_dataset
from netslim.training.recipe import Recipe
from netslim.training.train import train

data, slow, folders = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
for kept in folders:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(64, 4),
    )
    steps = []

    def hook(module, inputs):
        time.sleep(slow)
        steps.append(0)
        if len(steps) == 5 and slow:
            print("under way", flush=True)

    model.register_forward_pre_hook(hook)
    recipe = Recipe(epochs=40, batch_size=10, threads=1, precision="fp32")
    kept = pathlib.Path(kept)
    result = train(model, open_dataset(data), recipe, seed=0, checkpoint_dir=kept, checkpoint_every=3600)
    sums = [value.double().sum().item() for value in model.state_dict().values()]
    print(result.resumed_at, sums, result.error, flush=True)
"""


def start(dataset, slow, *folders):
    """A process that trains once in each of the folders, one after the other, from the same first weights."""
    command = [sys.executable, "-c", SCRIPT, str(dataset.directory), str(slow), *map(str, folders)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_sigterm_leaves_a_checkpoint_that_goes_on_to_the_same_weights(dataset, tmp_path):
    process = start(dataset, 0.02, tmp_path / "a")
    assert process.stdout.readline() == "under way\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert len(list((tmp_path / "a").iterdir())) == 1
    shown, _ = start(dataset, 0, tmp_path / "a", tmp_path / "b").communicate(timeout=120)
    resumed, unbroken = shown.splitlines()
    where, _, weights = resumed.partition(" ")
    assert 0 < int(where) < 240
    assert f"0 {weights}" == unbroken
