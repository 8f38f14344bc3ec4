"""`train`: its result, its history, its side effects, and the errors that it raises."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from netslim import progress
from netslim.errors import ConfigError, ModelError, TrainingError
from netslim.training.loaders import loader_for
from netslim.training.train import evaluate, train
from tests.helpers.corners import SIDE, corners, network, recipe, same


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return corners(tmp_path_factory.mktemp("corners"))


def test_the_history_is_on_disk_and_right(dataset, tmp_path):
    rows_of_callback = []
    model = network()
    result = train(
        model,
        dataset,
        recipe(lambda_=0.05, penalty="proximal"),
        seed=0,
        history_path=tmp_path / "history.jsonl",
        on_epoch=rows_of_callback.append,
    )
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rows == rows_of_callback == list(result.history)
    assert [row["step"] for row in rows] == [1, 2, 3]
    timestamps = [row["ts"] for row in rows]
    assert timestamps == sorted(timestamps)
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.01])
    gammas = torch.cat([model[1].weight, model[4].weight])
    assert rows[-1]["sparsity/zero_share"] == float((gammas == 0).double().mean()) > 0
    assert rows[-1]["sparsity/near_zero_share"] == float((gammas.abs() < 1e-3).double().mean())
    assert rows[-1]["val/error"] == evaluate(model, dataset.split("val"), dataset.info)
    assert result.error == evaluate(model, dataset.split("test"), dataset.info)
    assert result.lambda_ == 0.05
    assert result.sparsity.zero_share == rows[-1]["sparsity/zero_share"]
    assert (result.resumed_at, result.refused) == (0, ())


def test_the_first_epochs_loss_and_error_are_means_over_its_images(dataset):
    """With lr near 0 the weights do not change, so the epoch can be computed again, batch by batch."""
    model = network()
    reference = copy.deepcopy(model).train()
    result = train(model, dataset, recipe(epochs=1, lr=1e-12), seed=5)
    losses, error_count = [], 0
    for images, labels in loader_for(dataset, batch_size=10, seed=5).epoch(0):
        logits = reference(images)
        losses.append(F.cross_entropy(logits, labels).item())
        error_count += int((logits.argmax(1) != labels).sum())
    assert result.history[0]["train/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.history[0]["train/error"] == pytest.approx(100 * error_count / 60)


def test_the_error_falls(dataset):
    model = network()
    assert evaluate(model, dataset.split("test"), dataset.info) > 50
    assert train(model, dataset, recipe(epochs=15, lr=0.05), seed=0).error < 15


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(dataset):
    models = [network(dropout=0.3) for _ in range(3)]
    torch.manual_seed(111)
    train(models[0], dataset, recipe(), seed=1)
    torch.manual_seed(222)
    train(models[1], dataset, recipe(), seed=1)
    train(models[2], dataset, recipe(), seed=2)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_threads_random_state_modes_and_parameters_are_restored(dataset):
    model = network().eval()
    parameters = list(model.parameters())
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    train(model, dataset, recipe(epochs=1, threads=2), seed=0)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_total_shrinkage_trains_as_the_lambda_that_it_stands_for(dataset):
    by_shrinkage, by_lambda = network(), network()
    result = train(by_shrinkage, dataset, recipe(total_shrinkage=0.5), seed=0)
    train(by_lambda, dataset, recipe(lambda_=result.lambda_), seed=0)
    assert result.lambda_ > 0
    assert same(by_shrinkage, by_lambda)


def test_select_val_keeps_the_epoch_with_the_lowest_validation_error(dataset):
    model = network()
    result = train(model, dataset, recipe(epochs=6, lr=0.8, select="val"), seed=0)
    errors = [row["val/error"] for row in result.history]
    assert evaluate(model, dataset.split("val"), dataset.info) == min(errors)
    assert min(errors) < errors[-1]  # otherwise the last epoch's weights would pass, too


def test_divergence_is_an_error_with_epoch_rate_and_lambda(dataset, tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(network(), dataset, recipe(epochs=4, lr=1e20), seed=0, checkpoint_dir=tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 5
    assert "epoch 1 of 4" in text
    assert "lr = 1e+20" in text
    assert "lambda = 0" in text
    assert list(tmp_path.iterdir()) == []  # no checkpoint has the bad weights


def test_divergence_names_the_last_good_checkpoint(dataset, tmp_path):
    model = network()

    def set_nan(row):
        if row["step"] == 2:
            with torch.no_grad():
                model[0].weight[0, 0, 0, 0] = float("nan")

    with pytest.raises(TrainingError, match=r"epoch 2 of 3.*step-000000011-"):
        train(model, dataset, recipe(), seed=0, checkpoint_dir=tmp_path, checkpoint_every=0, on_epoch=set_nan)


def test_distillation_needs_a_teacher_and_does_not_change_it(dataset):
    with pytest.raises(ConfigError, match="teacher") as caught:
        train(network(), dataset, recipe(distill=0.5), seed=0)
    assert caught.value.field == "distill"
    teacher = network(1).train()
    before = copy.deepcopy(teacher)
    train(network(), dataset, recipe(distill=0.5), seed=0, teacher=teacher)
    assert same(teacher, before)
    assert teacher.training


def test_selecting_by_validation_needs_a_validation_split(dataset):
    info = copy.copy(dataset.info)
    object.__setattr__(info, "sizes", {"train": 60, "test": 40})
    without = type(dataset)(dataset.directory, info)
    with pytest.raises(ConfigError, match="validation"):
        train(network(), without, recipe(select="val"), seed=0)
    assert "val/error" not in train(network(), without, recipe(epochs=1), seed=0).history[0]


def test_the_l1_term_needs_batchnorm_and_plain_training_does_not(dataset):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4))
    with pytest.raises(ModelError, match="BatchNorm"):
        train(plain, dataset, recipe(lambda_=1e-4), seed=0)
    result = train(plain, dataset, recipe(), seed=0)
    assert result.sparsity is None
    assert "sparsity/zero_share" not in result.history[0]


class RecordedBar:
    """A progress bar that records what is shown."""

    def __init__(self) -> None:
        self.done, self.metrics = 0, list[dict[str, float | str]]()

    def advance(self, amount: int = 1, **metrics: float | str) -> None:
        self.done += amount
        self.metrics.append(metrics)


@pytest.mark.parametrize("lambda_", [0.0, 0.05])
def test_the_bar_shows_loss_train_error_and_in_sparse_training_the_sparsity(dataset, monkeypatch, lambda_):
    bar = RecordedBar()
    monkeypatch.setattr(progress, "bar", lambda title, total: nullcontext(bar))
    result = train(network(), dataset, recipe(lambda_=lambda_, penalty="proximal"), seed=0)
    last = result.history[-1]
    shown = {"loss": last["train/loss"], "train error": last["train/error"]}
    if lambda_:
        shown["factors at zero"] = f"{100 * last['sparsity/near_zero_share']:.0f} %"
    assert bar.done == 18
    assert bar.metrics[-1] == shown
