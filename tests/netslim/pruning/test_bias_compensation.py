"""The constants of removed channels are compensated: exactly, or on average where zeros are padded."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import netslim
from netslim.errors import DataError
from tests.helpers.networks import PostActivation
from tests.helpers.proof import gammas_at_zero, masked, outputs, relative, settled

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Two(nn.Module):
    """A constant that meets `second`; sizes odd and even, strides, dilation, groups."""

    def __init__(self, activation: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.norm, self.activation, self.second = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            activation,
            second,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.norm(self.first(x))))


EXACT: dict[str, nn.Module] = {
    "1x1": nn.Conv2d(8, 6, 1),
    "unpadded": nn.Conv2d(8, 6, 3, bias=False),
    "strided, unpadded": nn.Conv2d(8, 6, 3, stride=2),
    "replicated border": nn.Conv2d(8, 6, 3, padding=1, padding_mode="replicate"),
    "max pooling, then 1x1": nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 6, 1)),
    "mean over the border left out": nn.Sequential(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Conv2d(8, 6, 1)
    ),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(8 * 144, 6)),
    "linear without bias": nn.Sequential(nn.Flatten(), nn.Linear(8 * 144, 6, bias=False)),
    "linear without bias, then BatchNorm": nn.Sequential(
        nn.Flatten(), nn.Linear(8 * 144, 6, bias=False), nn.BatchNorm1d(6)
    ),
}
ACTIVATIONS = (nn.ReLU(), nn.Sigmoid(), nn.Hardswish(), nn.GELU(), nn.LeakyReLU(0.2), nn.Identity())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("name", EXACT)
def test_exact(name: str, activation: nn.Module) -> None:
    torch.manual_seed(0)
    wide = settled(Two(activation, copy.deepcopy(EXACT[name])), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.5)
    truth = outputs(gammas_at_zero(wide, result.plan.kept), IMAGES)
    assert relative(outputs(result.model, IMAGES), truth) < 1e-12
    assert result.report.notes == ()
    dropped = netslim.prune(wide, IMAGES, percent=0.5, compensate=False).model
    if not isinstance(activation, nn.ReLU):
        assert relative(outputs(dropped, IMAGES), truth) > 1e-3, "compensation is needed here"


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("size", "padding", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 2, 2), (4, 1, 1)])
def test_under_zero_padding_it_is_exact_on_average(
    size: int, padding: int, dilation: int, stride: int
) -> None:
    """Over all output positions. A correction without the border would differ, as the control shows."""
    torch.manual_seed(0)
    second = nn.Conv2d(8, 6, size, stride, padding, dilation)
    wide = settled(Two(nn.GELU(), second), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.5)
    assert [note for note in result.report.notes if "on average" in note and "second" in note]
    with torch.no_grad():
        truth = gammas_at_zero(wide, result.plan.kept)(IMAGES)
        pruned = result.model(IMAGES)
    assert relative(pruned.mean((2, 3)), truth.mean((2, 3))) < 1e-12
    assert relative(pruned, truth) > 1e-3
    naive = wide.second.bias.detach().clone()
    kept = torch.zeros(8, dtype=torch.bool)
    kept[list(result.plan.kept["norm"])] = True
    sent = nn.functional.gelu(wide.norm.bias.detach())
    naive += (wide.second.weight.detach().sum((2, 3)) * sent)[:, ~kept].sum(1)
    assert (naive - result.model.second.bias.detach()).abs().max() > 1e-3, "the border counts"


def test_recalibration_takes_the_statistics_of_the_batches_it_is_given() -> None:
    torch.manual_seed(0)
    wide = settled(Two(nn.ReLU(), nn.Conv2d(8, 6, 1)), IMAGES)
    slim = netslim.prune(wide, IMAGES, percent=0.5).model
    batches = [torch.randn(16, 3, 12, 12, dtype=torch.float64) for _ in range(4)]
    netslim.recalibrate(slim, batches)
    with torch.no_grad():
        seen = torch.cat([slim.first(batch) for batch in batches])
    means = torch.stack([seen[at : at + 16].mean((0, 2, 3)) for at in range(0, 64, 16)]).mean(0)
    torch.testing.assert_close(slim.norm.running_mean, means)
    assert not any(module.training for module in slim.modules() if isinstance(module, _BatchNorm))
    with pytest.raises(DataError):
        netslim.recalibrate(slim, [])


@pytest.mark.parametrize("compensate", [True, False])
def test_constants_of_an_earlier_pass_stay(compensate: bool) -> None:
    """They belong to the network that is given: a pass that removes nothing changes nothing."""
    torch.manual_seed(0)
    first = netslim.prune(settled(PostActivation(), IMAGES), IMAGES, percent=0.4, policy="select").model
    assert any(name.endswith("fill") and fill.any() for name, fill in first.named_buffers())
    same = netslim.prune(first, IMAGES, percent=0, policy="select", compensate=compensate)
    assert relative(outputs(same.model, IMAGES), outputs(first, IMAGES)) < 1e-12
    second = netslim.prune(first, IMAGES, percent=0.3, policy="select", compensate=False)
    truth = outputs(masked(first, second.plan.kept), IMAGES)
    assert relative(outputs(second.model, IMAGES), truth) < 1e-11
