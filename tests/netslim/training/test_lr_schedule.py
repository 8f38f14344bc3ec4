"""Learning rates against torch's own schedulers, and milestones that are not at the end of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netslim.training import lr_schedule


def by_torch(make, lr: float, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_step_equals_torch_where_milestones_are_whole():
    expected = by_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [80, 120], gamma=0.1), 0.1, 160)
    np.testing.assert_allclose(lr_schedule.learning_rates(0.1, 160), expected, rtol=1e-12)


def test_cosine_equals_torch():
    expected = by_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50), 0.05, 50)
    np.testing.assert_allclose(lr_schedule.learning_rates(0.05, 50, schedule="cosine"), expected, rtol=1e-9)


def test_constant():
    assert lr_schedule.learning_rates(0.3, 4, schedule="constant").tolist() == [0.3] * 4


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 30])
def test_short_runs_keep_both_milestones(epochs):
    """The test `epoch == 0.75 * epochs` would miss the second drop of 30 epochs (22.5): count the rates."""
    steps_per_epoch = 4
    rates = lr_schedule.learning_rates(1.0, epochs * steps_per_epoch)
    values, counts = np.unique(rates, return_counts=True)
    np.testing.assert_allclose(values, [0.01, 0.1, 1.0])
    assert counts.tolist() == [epochs, epochs, 2 * epochs]


@pytest.mark.parametrize("steps", [3, 30, 300, 7050, 301 * 3])
def test_a_third_is_a_third(steps):
    rates = lr_schedule.learning_rates(1.0, steps, milestones=(1 / 3, 2 / 3))
    assert np.unique(rates, return_counts=True)[1].tolist() == [steps // 3] * 3


def test_the_lambda_for_a_total_shrinkage():
    rates = lr_schedule.learning_rates(0.1, 1000)
    by_hand = 1e-4 * (500 * 0.1 + 250 * 0.01 + 250 * 0.001) / 0.1
    assert lr_schedule.lambda_for_total_shrinkage(by_hand, rates, 0.9) == pytest.approx(1e-4)
    assert lr_schedule.lambda_for_total_shrinkage(0.0, rates, 0.9) == 0.0


def test_the_total_shrinkage_of_the_papers_vgg_on_cifar():
    """160 epochs of 50,000 images in batches of 64 at lambda 1e-4 shrink a factor by 6.59."""
    rates = lr_schedule.learning_rates(0.1, 160 * (50_000 // 64))
    assert lr_schedule.lambda_for_total_shrinkage(6.59, rates, 0.9) == pytest.approx(1e-4, rel=0.002)
