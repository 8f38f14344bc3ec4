"""The loop against a plain one written out here."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from netslim.data import Split
from netslim.errors import ConfigError, ModelError, TrainingError
from netslim.training.loaders import loader_for
from netslim.training.train import evaluate, train
from tests.helpers.corners import SIDE, corners, network, recipe, same


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return corners(tmp_path_factory.mktemp("corners"))


def plain_loop(model, dataset, recipe, seed, teacher=None):
    """The method as one would write it down: no foreach, no fusion, plain formulas."""
    batches = loader_for(dataset, batch_size=recipe.batch_size, seed=seed)
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    gammas = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model.train()
    step, steps = 0, recipe.epochs * batches.steps
    for epoch in range(recipe.epochs):
        for images, labels in batches.epoch(epoch):
            lr = recipe.lr * (1.0 if step < steps / 2 else 0.1 if step < 3 * steps / 4 else 0.01)
            if recipe.adversarial:
                images.requires_grad_()
                F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing).backward()
                steepest = torch.stack([slope / slope.square().sum().sqrt() for slope in images.grad])
                images = images.detach() + recipe.adversarial * steepest
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            if teacher is not None:
                with torch.no_grad():
                    wanted = F.softmax(teacher(images) / recipe.temperature, 1)
                given = F.log_softmax(logits / recipe.temperature, 1)
                soft = (wanted * (wanted.log() - given)).sum(1).mean() * recipe.temperature**2
                loss = (1 - recipe.distill) * loss + recipe.distill * soft
            if recipe.penalty == "l1":
                loss = loss + recipe.lambda_ * sum(gamma.abs().sum() for gamma in gammas)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter, v in zip(model.parameters(), velocity, strict=True):
                    gradient = parameter.grad + recipe.weight_decay * parameter
                    v.mul_(recipe.momentum).add_(gradient)
                    parameter.sub_(lr * (gradient + recipe.momentum * v))
                if recipe.penalty == "proximal":
                    reach = lr * recipe.lambda_ / (1 - recipe.momentum)
                    for gamma in gammas:
                        gamma.copy_(gamma.sign() * (gamma.abs() - reach).clamp_min(0))
            step += 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lambda_": 0.01},
        {"lambda_": 0.01, "penalty": "proximal"},
        {"label_smoothing": 0.1, "distill": 0.5, "temperature": 2.0},
        {"label_smoothing": 0.1, "adversarial": 0.5},
        {"distill": 0.5, "adversarial": 0.5},
    ],
)
def test_it_computes_what_a_plain_loop_computes(dataset, changes):
    how = recipe(**changes)
    teacher = network(9).eval() if how.distill else None
    model, expected = network(), network()
    train(model, dataset, how, seed=3, teacher=teacher)
    plain_loop(expected, dataset, how, 3, teacher)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_the_history_is_on_disk_and_counts_right(dataset, tmp_path):
    heard = []
    model = network()
    before = time.time() * 1000
    result = train(
        model,
        dataset,
        recipe(lambda_=0.05, penalty="proximal"),
        seed=0,
        history_path=tmp_path / "history.jsonl",
        on_epoch=heard.append,
    )
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert rows == heard == list(result.history)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(before <= row["ts"] <= time.time() * 1000 for row in rows)
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
    """With lr next to 0 the weights stand still, so the epoch can be recomputed in one go, batch by batch."""
    model = network()
    reference = copy.deepcopy(model).train()
    result = train(model, dataset, recipe(epochs=1, lr=1e-12), seed=5)
    losses, wrong = [], 0
    for images, labels in loader_for(dataset, batch_size=10, seed=5).epoch(0):
        logits = reference(images)
        losses.append(F.cross_entropy(logits, labels).item())
        wrong += int((logits.argmax(1) != labels).sum())
    assert result.history[0]["train/loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.history[0]["train/error"] == pytest.approx(100 * wrong / 60)


def test_it_learns(dataset):
    model = network()
    assert evaluate(model, dataset.split("test"), dataset.info) > 50
    assert train(model, dataset, recipe(epochs=15, lr=0.05), seed=0).error < 15


@pytest.mark.parametrize(("side", "batches"), [(8, [500, 100]), (32, [128] * 4 + [88]), (224, [8] * 75)])
def test_batches_of_an_evaluation_hold_about_as_many_pixels_each(dataset, side, batches):
    class Sizes(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(1)), []

        def forward(self, images):
            self.seen.append(len(images))
            return images.new_zeros(len(images), 2)

    images = np.zeros((600, side, side, 1), np.uint8)
    info = replace(dataset.info, image_size=(side, side), channels=1, mean=(0.5,), std=(0.25,))
    model = Sizes()
    assert evaluate(model, Split(images, np.arange(600) % 2), info) == 50
    assert model.seen == batches


def test_evaluate_by_hand_and_without_a_trace(dataset):
    model = network().train()
    model[1].eval()
    before = copy.deepcopy(model)
    split = dataset.split("test")
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(
            torch.from_numpy((split.images / 255 - 0.3) / 0.2).float().permute(0, 3, 1, 2)
        )
    wrong = int((logits.argmax(1).numpy() != split.labels).sum())
    assert evaluate(model, split, dataset.info, batch_size=7) == pytest.approx(100 * wrong / 40)
    assert same(model, before)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(dataset):
    models = [network(dropout=0.3) for _ in range(3)]
    torch.manual_seed(111)
    train(models[0], dataset, recipe(), seed=1)
    torch.manual_seed(222)
    train(models[1], dataset, recipe(), seed=1)
    train(models[2], dataset, recipe(), seed=2)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_the_callers_things_are_left_as_they_were(dataset):
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


def test_pull_trains_as_its_lam(dataset):
    by_pull, by_lam = network(), network()
    result = train(by_pull, dataset, recipe(total_shrinkage=0.5), seed=0)
    train(by_lam, dataset, recipe(lambda_=result.lambda_), seed=0)
    assert result.lambda_ > 0
    assert same(by_pull, by_lam)


@pytest.mark.parametrize("penalty", ["l1", "smooth-l1", "proximal"])
def test_sparse_training_makes_factors_small(dataset, penalty):
    plain, sparse = network(), network()
    train(plain, dataset, recipe(epochs=30, lr=0.02), seed=0)
    result = train(sparse, dataset, recipe(epochs=30, lr=0.02, total_shrinkage=1.5, penalty=penalty), seed=0)
    small = [int((torch.cat([m[1].weight, m[4].weight]).abs() < 0.05).sum()) for m in (plain, sparse)]
    assert small[0] == 0
    assert small[1] >= 4
    assert (result.sparsity.zero_share > 0) == (penalty == "proximal")


def test_val_selects_the_best_epoch_never_the_last_by_habit(dataset):
    model = network()
    result = train(model, dataset, recipe(epochs=6, lr=0.8, select="val"), seed=0)
    errors = [row["val/error"] for row in result.history]
    assert evaluate(model, dataset.split("val"), dataset.info) == min(errors)
    assert min(errors) < errors[-1]  # else this test would say nothing


def test_bf16_stays_near_fp32(dataset):
    model, reference = network(), network()
    train(model, dataset, recipe(precision="bf16", lr=0.02), seed=0)
    train(reference, dataset, recipe(lr=0.02), seed=0)
    assert not same(model, reference)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    torch.testing.assert_close(model[0].weight, reference[0].weight, rtol=0, atol=0.05)


def test_auxiliary_classifiers_are_trained_too(dataset):
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.main, self.side = network()[:-1], nn.Linear(288, 4), nn.Linear(288, 4)

        def forward(self, images):
            features = self.trunk(images)
            return (self.main(features), self.side(features)) if self.training else self.main(features)

    model = TwoHeads()
    side = model.side.weight.clone()
    result = train(model, dataset, recipe(epochs=8, lr=0.05), seed=0)
    assert not torch.equal(model.side.weight, side)
    assert result.error < 40


def test_divergence_stops_the_run_and_says_where(dataset, tmp_path):
    with pytest.raises(TrainingError) as caught:
        train(network(), dataset, recipe(epochs=4, lr=1e20), seed=0, checkpoint_dir=tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 5
    assert "epoch 1 of 4" in text
    assert "lr = 1e+20" in text
    assert "lambda = 0" in text
    assert list(tmp_path.iterdir()) == []  # nothing bad was kept


def test_divergence_names_the_last_good_checkpoint(dataset, tmp_path):
    model = network()

    def poison(row):
        if row["step"] == 2:
            with torch.no_grad():
                model[0].weight[0, 0, 0, 0] = float("nan")

    with pytest.raises(TrainingError, match=r"epoch 2 of 3.*step-000000011-"):
        train(model, dataset, recipe(), seed=0, checkpoint_dir=tmp_path, checkpoint_every=0, on_epoch=poison)


def test_a_teacher_must_be_there_and_stays_as_it_is(dataset):
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


def test_sparsity_needs_batchnorm_and_plain_training_does_not(dataset):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 4))
    with pytest.raises(ModelError, match="BatchNorm"):
        train(plain, dataset, recipe(lambda_=1e-4), seed=0)
    result = train(plain, dataset, recipe(), seed=0)
    assert result.sparsity is None
    assert "sparsity/zero_share" not in result.history[0]
