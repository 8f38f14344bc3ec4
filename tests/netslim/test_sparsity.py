"""The sparsity term: gradients by autograd, the proximal step by its definition, the pull by counting."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from netslim import sparsity
from netslim.errors import ModelError
from netslim.training import lr_schedule


def network() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.InstanceNorm2d(6, affine=True),
        nn.Flatten(),
        nn.Linear(6 * 4, 5),
        nn.BatchNorm1d(5),
        nn.BatchNorm1d(5, affine=False),
    )
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.5, -0.5, 0.0, 1e-4, -2.0, 0.25]))
        model[6].weight.copy_(torch.tensor([0.5, 0.0, 0.0, -0.01, 1.0]))
    return model


def loss(model: nn.Module) -> torch.Tensor:
    images = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return model(images).square().mean()


def gradients(model: nn.Module, penalty: torch.Tensor | None = None) -> list[torch.Tensor]:
    model.zero_grad()
    (loss(model) if penalty is None else loss(model) + penalty).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def factors(model: nn.Module) -> list[torch.Tensor]:
    return [factor for _, factor in sparsity.scaling_factors(model)]


def test_scaling_factors_are_those_of_batchnorm_alone():
    model = network()
    found = sparsity.scaling_factors(model)
    assert [name for name, _ in found] == ["1.weight", "6.weight"]
    assert found[0][1] is model[1].weight
    assert found[1][1] is model[6].weight


@pytest.mark.parametrize(
    "module", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.BatchNorm3d(3), nn.SyncBatchNorm(3)]
)
def test_every_kind_of_batchnorm_counts(module):
    assert [name for name, _ in sparsity.scaling_factors(module)] == ["weight"]


def test_a_layer_used_twice_is_listed_once():
    norm = nn.BatchNorm2d(3)
    assert len(sparsity.scaling_factors(nn.Sequential(norm, nn.ReLU(), norm))) == 1


def test_wrappers_are_seen_through():
    model = network()
    names = [name for name, _ in sparsity.scaling_factors(model)]
    for wrapped in (nn.DataParallel(model), torch.compile(model), torch.compile(nn.DataParallel(model))):
        assert [name for name, _ in sparsity.scaling_factors(wrapped)] == names
        sparsity.add_l1_subgradient(wrapped, 0.1)  # no gradient yet: nothing to do, and no error


def test_a_network_without_batchnorm_is_refused():
    with pytest.raises(ModelError, match="BatchNorm") as caught:
        sparsity.scaling_factors(nn.Linear(2, 2))
    assert caught.value.exit_code == 4


def test_l1_equals_autograd_of_the_penalised_loss():
    model = network()
    expected = gradients(model, 0.3 * sum(factor.abs().sum() for factor in factors(model)))
    gradients(model)
    sparsity.add_l1_subgradient(model, 0.3)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-7)


def test_l1_adds_lam_times_sign_and_nothing_at_zero():
    model = network()
    before = gradients(model)
    sparsity.add_l1_subgradient(factors(model), 0.25)
    added = model[1].weight.grad - before[2]
    torch.testing.assert_close(added, torch.tensor([0.25, -0.25, 0.0, 0.25, -0.25, 0.25]))


def test_smooth_l1_equals_autograd_of_the_smooth_norm():
    model, width = network(), 0.02
    penalty = sum(
        nn.functional.huber_loss(factor, torch.zeros_like(factor), delta=width, reduction="sum") / width
        for factor in factors(model)
    )
    expected = gradients(model, 0.3 * penalty)
    gradients(model)
    sparsity.add_smooth_l1(model, 0.3, width)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-7)


def test_proximal_minimises_its_objective():
    """prox(g) is the x that minimises (x - g)^2 / 2 + reach * |x|: searched on a fine grid here."""
    model = network()
    before = torch.cat([factor.detach().clone() for factor in factors(model)]).double()
    sparsity.apply_proximal(model, lam=0.06, lr=0.5, momentum=0.9)  # reach 0.3
    after = torch.cat([factor.detach() for factor in factors(model)]).double()
    grid = torch.linspace(-2.5, 2.5, 50001, dtype=torch.float64)
    cost = (grid[:, None] - before).square() / 2 + 0.3 * grid[:, None].abs()
    torch.testing.assert_close(after, grid[cost.argmin(0)], rtol=0, atol=2e-4)
    assert torch.equal(after == 0, before.abs() <= 0.3)  # exactly zero, not nearly


def test_frozen_factors_stay():
    model = network()
    model[1].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    loss(model).backward()
    sparsity.add_l1_subgradient(model, 1.0)
    sparsity.apply_proximal(model, 1.0, 1.0)
    assert model[1].weight.grad is None
    assert torch.equal(model[1].weight, before["1.weight"])
    assert not torch.equal(model[6].weight, before["6.weight"])


@pytest.mark.parametrize("penalty", ["l1", "smooth-l1", "proximal"])
def test_a_strength_in_tensors_does_what_the_number_does(penalty):
    """Beyond that, a later call reads the tensors' new values."""
    by_number, by_tensor = network(), network()
    lam, lr = torch.zeros(()), torch.zeros(())
    for strength, rate in ((0.25, 0.5), (0.0625, 0.25)):
        lam.fill_(strength)
        lr.fill_(rate)
        for model, lambda_, step in ((by_number, strength, rate), (by_tensor, lam, lr)):
            gradients(model)
            if penalty == "l1":
                sparsity.add_l1_subgradient(model, lambda_)
            elif penalty == "smooth-l1":
                sparsity.add_smooth_l1(model, lambda_, 0.02)
            else:
                sparsity.apply_proximal(model, lambda_, step, momentum=0.5)
        for a, b in zip(by_number.parameters(), by_tensor.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-7)
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-7)


def test_a_strength_in_a_tensor_serves_factors_in_double_precision_too():
    factor = nn.Parameter(torch.tensor([0.5, -0.25, 0.0], dtype=torch.float64))
    factor.grad = torch.zeros_like(factor)
    sparsity.add_l1_subgradient([factor], torch.tensor(0.125))
    sparsity.apply_proximal([factor], torch.tensor(0.25), torch.tensor(0.5), momentum=0.5)
    assert factor.grad.tolist() == [0.125, -0.125, 0.0]
    assert factor.tolist() == [0.25, 0.0, 0.0]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("penalty", ["l1", "proximal"])
def test_both_penalties_pull_as_far_as_stated(penalty, nesterov):
    """With no other gradient, a factor far from zero moves by lam * sum(lr) / (1 - momentum)."""
    rates = lr_schedule.learning_rates(0.1, 4000, schedule="cosine")
    factor = nn.Parameter(torch.tensor([10.0, -10.0], dtype=torch.float64))
    optimizer = torch.optim.SGD([factor], lr=0.1, momentum=0.9, nesterov=nesterov)
    for lr in rates.tolist():
        optimizer.param_groups[0]["lr"] = lr
        factor.grad = torch.zeros_like(factor)
        if penalty == "l1":
            sparsity.add_l1_subgradient([factor], 0.001)
        optimizer.step()
        if penalty == "proximal":
            sparsity.apply_proximal([factor], 0.001, lr, 0.9)
    moved = 10.0 - factor.detach().abs().numpy()
    np.testing.assert_allclose(moved, 0.001 * rates.sum() / (1 - 0.9), rtol=0.01)


def test_statistics_count_by_hand():
    found = sparsity.statistics(network(), bins=4)
    assert found.total == 11
    assert found.zero_share == pytest.approx(3 / 11)
    assert found.near_zero_share == pytest.approx(4 / 11)
    assert found.edges == pytest.approx((0, 0.5, 1.0, 1.5, 2.0))
    assert found.counts == (6, 3, 1, 1)  # 0.5 opens the second bin, 2.0 closes the last
    assert sum(found.counts) == found.total
