"""Images moved to where the loss rises, against the loss itself looked up around them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netslim.training.adversarial import adversarial_examples
from netslim.training.recipe import Recipe
from tests.helpers.corners import SIDE, network

RECIPE = Recipe(epochs=1, adversarial=0.01, label_smoothing=0.1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 1, SIDE, SIDE), torch.arange(6) % 4


def losses(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(model(images), labels, label_smoothing=0.1, reduction="none")


def test_each_image_is_moved_by_the_length_and_no_direction_raises_its_loss_more(batch):
    images, labels = batch
    model = network().eval()  # so that the images' losses do not hang together
    before = images.clone()
    moves = adversarial_examples(model, images, labels, RECIPE) - images
    assert torch.equal(images, before)
    torch.testing.assert_close(moves.flatten(1).norm(dim=1), torch.full((6,), 0.01), rtol=1e-3, atol=0)
    here, there = losses(model, images, labels), losses(model, images + moves, labels)
    assert (there > here).all()
    for _ in range(50):
        other = torch.randn_like(images)
        other *= 0.01 / other.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        assert (losses(model, images + other, labels) < there).all()


def test_parameters_and_their_gradients_are_left_alone(batch):
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    moved = adversarial_examples(model, batch[0], batch[1], RECIPE)
    assert not moved.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_an_image_without_a_slope_stays(batch):
    model = network()
    nn.init.zeros_(model[-1].weight)
    assert torch.equal(adversarial_examples(model, batch[0], batch[1], RECIPE), batch[0])
