"""A slim network that does not run is never returned: layers are kept until it does, or it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from netslim.nn.module_copy import ModuleIndex
from netslim.pruning import analysis
from netslim.pruning.trial_run import Failure, first_failure
from tests.helpers.networks import Chain, PreActivation, conv
from tests.helpers.proof import masked, outputs, relative, settled

IMAGES = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    """A pre-activation block, where a select stands before the BatchNorm; `norm` is how it is called."""

    def __init__(self, norm: Callable[[nn.BatchNorm2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.how, self.first, self.conv = norm, nn.BatchNorm2d(12), nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.relu(self.how(self.first, x)))


class Net(nn.Module):
    def __init__(self, norm: Callable[[nn.BatchNorm2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.a, self.b = conv(3, 12), Block(norm), Block(norm)
        self.last, self.head = nn.BatchNorm2d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.last(self.b(self.a(self.stem(x))))).mean((2, 3)))


def as_wide_as(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert x.shape[1] == norm.num_features
    return norm(x)


NORMS: dict[str, Callable[[nn.BatchNorm2d, Tensor], Tensor]] = {
    "called": lambda norm, x: norm(x),
    "forward": lambda norm, x: norm.forward(x),
    "dtype and device of the weight": lambda norm, x: norm(x.to(norm.weight.dtype).to(norm.weight.device)),
    "isinstance": lambda norm, x: norm(x) if isinstance(norm, nn.BatchNorm2d) else x,
    "eps": lambda norm, x: norm(x) * (1 + norm.eps),
    "exact type": lambda norm, x: norm(x) if type(norm) is nn.BatchNorm2d else F.relu(x),
    "width": as_wide_as,
    "function": lambda norm, x: F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias),
    "method of the class": nn.BatchNorm2d.forward,
}


@pytest.mark.parametrize("name", NORMS)
def test_code_that_looks_at_its_norm_runs_and_is_exact(name: str) -> None:
    torch.manual_seed(0)
    wide = settled(Net(NORMS[name]), IMAGES)
    result = netslim.prune(wide, IMAGES, percent=0.4, compensate=False, verify=True)
    assert result.plan.kept
    truth = outputs(masked(wide, result.plan.kept), IMAGES)
    assert relative(outputs(result.model, IMAGES), truth) < 1e-11


def test_layers_to_blame_are_kept_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure depends on one BatchNorm of three, wherever it is raised."""
    torch.manual_seed(0)
    wide = settled(Chain(), IMAGES)
    names = [name for name, module in wide.named_modules() if isinstance(module, nn.BatchNorm2d)]
    to_blame = names[1]
    width = wide.get_submodule(to_blame).num_features  # type: ignore[union-attr]

    def fails(slim: nn.Module, wide: Any, example: Any, **options: Any) -> Failure | None:
        narrow = slim.get_submodule(to_blame).num_features < width  # type: ignore[operator]
        return Failure("RuntimeError: x", "net.py:7", "b") if narrow else None

    monkeypatch.setattr(analysis, "first_failure", fails)
    result = netslim.prune(wide, IMAGES, percent=0.4)
    assert to_blame not in result.plan.kept
    assert result.plan.kept
    assert any("would not run at net.py:7 (RuntimeError: x)" in note for note in result.report.notes)
    monkeypatch.setattr(analysis, "first_failure", lambda *a, **k: Failure("RuntimeError: x", "net.py:7", ""))
    with pytest.raises(ModelError, match=r"does not run \(RuntimeError: x, at net.py:7\)"):
        netslim.prune(wide, IMAGES, percent=0.4)


def test_the_line_and_the_module_of_a_failure_are_found() -> None:
    wide, slim = PreActivation(raw=True), PreActivation(raw=True)
    stem = next(module for module in slim.modules() if isinstance(module, nn.Conv2d))
    stem.weight = nn.Parameter(stem.weight[:, :2])
    failure = first_failure(slim, ModuleIndex.of(wide), IMAGES.float(), two_modes=True)
    assert failure is not None
    assert "expected input" in failure.problem
    assert failure.line.startswith("networks.py:")
    assert first_failure(wide, ModuleIndex.of(wide), IMAGES.float(), two_modes=True) is None


def test_a_network_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constant that is left out is the reason here, as a fault of netslim would be."""
    torch.manual_seed(0)
    wide = settled(Chain(), IMAGES)
    netslim.prune(wide, IMAGES, percent=0.4, verify=True)
    slim = analysis.slim_copy

    def wrong(*arguments: Any) -> Any:
        applied = slim(*arguments)
        next(applied.model.parameters()).data.mul_(2).add_(1)
        return applied

    monkeypatch.setattr(analysis, "slim_copy", wrong)
    with pytest.raises(ModelError, match="computes something else than the masked one"):
        netslim.prune(wide, IMAGES, percent=0.4, verify=True)
