"""The optimizer step, and the training made of it, against a plain loop that is written out here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netslim.data import PackedDataset
from netslim.training.loaders import loader_for
from netslim.training.recipe import Recipe
from netslim.training.sgd import SGD
from netslim.training.train import train
from netslim.training.train_step import train_step
from tests.helpers.corners import SIDE, corners, network, recipe, same


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return corners(tmp_path_factory.mktemp("corners"))


def plain_loop(
    model: nn.Module, dataset: PackedDataset, recipe: Recipe, seed: int, teacher: nn.Module | None
) -> None:
    """The method by plain formulas: no foreach, no fusion."""
    loader = loader_for(dataset, batch_size=recipe.batch_size, seed=seed)
    velocity = [torch.zeros_like(parameter) for parameter in model.parameters()]
    gammas = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model.train()
    step, steps = 0, recipe.epochs * loader.steps
    for epoch in range(recipe.epochs):
        for images, labels in loader.epoch(epoch):
            lr = recipe.lr * (1.0 if step < steps / 2 else 0.1 if step < 3 * steps / 4 else 0.01)
            if recipe.adversarial:
                images.requires_grad_()
                F.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing).backward()
                assert images.grad is not None
                directions = torch.stack([grad / grad.square().sum().sqrt() for grad in images.grad])
                images = images.detach() + recipe.adversarial * directions
            logits = model(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            if teacher is not None:
                with torch.no_grad():
                    target = F.softmax(teacher(images) / recipe.temperature, 1)
                output = F.log_softmax(logits / recipe.temperature, 1)
                soft = (target * (target.log() - output)).sum(1).mean() * recipe.temperature**2
                loss = (1 - recipe.distill) * loss + recipe.distill * soft
            if recipe.penalty == "l1":
                loss = loss + recipe.lambda_ * sum(gamma.abs().sum() for gamma in gammas)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter, v in zip(model.parameters(), velocity, strict=True):
                    assert parameter.grad is not None
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
def test_training_equals_a_plain_loop(dataset: PackedDataset, changes: dict[str, Any]) -> None:
    settings = recipe(**changes)
    teacher = network(9).eval() if settings.distill else None
    model, expected = network(), network()
    train(model, dataset, settings, seed=3, teacher=teacher)
    plain_loop(expected, dataset, settings, 3, teacher)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_a_step_returns_its_loss_without_the_l1_term_and_its_errors() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(6, 1, SIDE, SIDE), torch.arange(6) % 4
    model, reference = network().train(), network().train()
    gammas = [model[1].get_parameter("weight"), model[4].get_parameter("weight")]
    optimizer = SGD(model.parameters(), momentum=0.9, nesterov=True, weight_decay=0.0)
    loss, error_count = train_step(model, (images, labels), recipe(), optimizer, gammas, 0.5, lr=0.1)
    logits = reference(images)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    assert int(error_count) == int((logits.argmax(1) != labels).sum())
    assert not loss.requires_grad


def test_a_weight_on_the_loss_scales_its_gradient_and_not_the_l1_term() -> None:
    torch.manual_seed(0)
    batch = torch.randn(6, 1, SIDE, SIDE), torch.arange(6) % 4

    def gradients(loss_weight: float, lambda_: float) -> list[Tensor]:
        model = network().train()
        weight, gamma = model[0].get_parameter("weight"), model[1].get_parameter("weight")
        optimizer = SGD(model.parameters(), momentum=0.0, nesterov=False, weight_decay=0.0)
        settings, scale = recipe(nesterov=False, momentum=0.0), torch.tensor(loss_weight)
        train_step(model, batch, settings, optimizer, [gamma], lambda_, lr=0.0, loss_weight=scale)
        assert weight.grad is not None
        assert gamma.grad is not None
        return [weight.grad, gamma.grad]

    plain, scaled, with_l1 = gradients(1.0, 0.0), gradients(0.5, 0.0), gradients(0.5, 0.25)
    for full, half in zip(plain, scaled, strict=True):
        torch.testing.assert_close(half, full / 2)
    assert torch.equal(with_l1[0], scaled[0])
    torch.testing.assert_close(with_l1[1], scaled[1] + 0.25)  # all factors are positive


@pytest.mark.parametrize("penalty", ["l1", "smooth-l1", "proximal"])
def test_sparse_training_makes_factors_small(dataset: PackedDataset, penalty: str) -> None:
    plain, sparse = network(), network()
    train(plain, dataset, recipe(epochs=30, lr=0.02), seed=0)
    settings = recipe(epochs=30, lr=0.02, total_shrinkage=1.5, penalty=penalty)
    result = train(sparse, dataset, settings, seed=0)
    small = [
        int((torch.cat([m[i].get_parameter("weight") for i in (1, 4)]).abs() < 0.05).sum())
        for m in (plain, sparse)
    ]
    assert small[0] == 0
    assert small[1] >= 4
    assert result.sparsity is not None
    assert (result.sparsity.zero_share > 0) == (penalty == "proximal")


def test_bf16_stays_near_fp32(dataset: PackedDataset) -> None:
    model, reference = network(), network()
    train(model, dataset, recipe(precision="bf16", lr=0.02), seed=0)
    train(reference, dataset, recipe(lr=0.02), seed=0)
    assert not same(model, reference)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    torch.testing.assert_close(model[0].weight, reference[0].weight, rtol=0, atol=0.05)


def test_auxiliary_classifiers_are_trained_too(dataset: PackedDataset) -> None:
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.main, self.side = network()[:-1], nn.Linear(288, 4), nn.Linear(288, 4)

        def forward(self, images: Tensor) -> Any:
            features = self.trunk(images)
            return (self.main(features), self.side(features)) if self.training else self.main(features)

    model = TwoHeads()
    side = model.side.weight.clone()
    result = train(model, dataset, recipe(epochs=8, lr=0.05), seed=0)
    assert not torch.equal(model.side.weight, side)
    assert result.error < 40
