"""Code that reads the mode: what train mode needs is followed, however it is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from tests.helpers.networks import conv
from tests.helpers.proof import prove, settled
from tests.helpers.user_code import IMAGES

Read = Callable[[Any], bool]

# what is true in train mode only
READS: dict[str, Read] = {
    "truth": lambda n: n.training,
    "not": lambda n: operator.not_(operator.not_(n.training)),
    "equal": lambda n: n.training == True,  # noqa: E712
    "is": lambda n: n.training is True,
    "unlike": lambda n: n.training != False,  # noqa: E712
    "number": lambda n: int(n.training) > 0,
    "sum": lambda n: sum(m.training for m in n.children()) > 0,
    "index": lambda n: (False, True)[n.training],
    "text": lambda n: f"{n.training}" == "True",
    "a key": lambda n: {True: True, False: False}[n.training],
    "of a child": lambda n: n.aux.training,
    "of a BatchNorm": lambda n: n.a[1].training,
    "getattr": lambda n: getattr(n, "training"),  # noqa: B009
    "vars": lambda n: vars(n)["training"],
    "gradients": lambda n: torch.is_grad_enabled(),
    "match": lambda n: n.training and isinstance(n.training, bool),
}


class Net(nn.Module):
    """An auxiliary head in the middle of the network."""

    def __init__(self, read: Read) -> None:
        super().__init__()
        self.read, self.a, self.b = read, conv(3, 8), conv(8, 12)
        self.aux, self.out = nn.Linear(8, 4), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        aux = [self.aux(y.mean((2, 3)))] if self.read(self) else []
        return [self.out(self.b(y).mean((2, 3))), *aux]


@pytest.mark.parametrize("name", READS)
def test_an_auxiliary_head(name: str) -> None:
    torch.manual_seed(0)
    result = prove(settled(Net(READS[name]), IMAGES), IMAGES)
    slim = result.model.train()
    with torch.enable_grad():
        head = slim(IMAGES)
        assert len(head) == 2
        sum(part.square().mean() for part in head).backward()  # type: ignore[union-attr]
    optimized = sum(float(p.grad.abs().sum()) for p in slim.parameters() if p.grad is not None)
    assert optimized > 0


def test_train_mode_at_the_end_of_the_network() -> None:
    class Late(Net):
        def forward(self, x: Tensor) -> Any:
            y = self.a(x)
            out = self.out(self.b(y).mean((2, 3)))
            return [out, self.aux(y.mean((2, 3)))] if self.training else [out]

    torch.manual_seed(0)
    prove(settled(Late(READS["truth"]), IMAGES), IMAGES)


def test_dropout_and_a_cumulative_mean_make_no_difference() -> None:
    class Drop(Net):
        def forward(self, x: Tensor) -> Any:
            return self.out(F.dropout(self.b(F.dropout2d(self.a(x), 0.0, self.training)), 0.0).mean((2, 3)))

    torch.manual_seed(0)
    model = settled(Drop(READS["truth"]), IMAGES)
    model.a[1].momentum = None  # type: ignore[union-attr, index]
    result = netslim.prune(model, IMAGES)
    assert not any("train mode" in note for note in result.report.notes)
    assert result.after.params < result.before.params


def test_a_network_that_does_not_run_in_train_mode_is_noted() -> None:
    class Detector(Net):
        def forward(self, x: Tensor, targets: Any = None) -> Any:  # type: ignore[override]
            if self.training and targets is None:
                raise ValueError("targets are needed")
            return self.out(self.b(self.a(x)).mean((2, 3)))

    torch.manual_seed(0)
    result = netslim.prune(Detector(READS["truth"]).double().eval(), IMAGES)
    assert result.report.notes[0] == (
        "only eval mode was followed, because train mode failed (ValueError: targets are needed)"
    )
    assert result.model(IMAGES).shape == (4, 4)


def test_layers_that_run_in_threads() -> None:
    """A function mode of torch is active in one thread only."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = conv(3, 12), conv(3, 12), nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            with ThreadPoolExecutor(2) as pool:
                branches = pool.map(lambda branch: branch(x), (self.a, self.b))
                return self.out(torch.cat(list(branches), 1).mean((2, 3)))

    result = prove(settled(Branches(), IMAGES), IMAGES)
    assert sum(row.before - row.after for row in result.report.rows) == 12
