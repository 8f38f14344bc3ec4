"""`recalibrate` takes batches as people have them, and leaves the statistics alone when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import netslim
from netslim.errors import DataError

IMAGES = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
DEPTH = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(2))


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor, features: bool = False) -> Tensor:
        return self.norm(x)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        return self.norm(torch.cat([rgb, depth], 1))


LABELS = torch.arange(8)
GIVEN: dict[str, tuple[type[One] | type[Two], Callable[[], Any]]] = {
    "list": (One, lambda: [IMAGES, IMAGES]),
    "generator": (One, lambda: (IMAGES for _ in range(2))),
    "images and labels": (One, lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)),
    "two inputs": (Two, lambda: [(IMAGES, DEPTH)]),
    "two inputs and labels": (Two, lambda: [[IMAGES, DEPTH, LABELS]]),
    "by name, with labels": (Two, lambda: [{"rgb": IMAGES, "depth": DEPTH, "label": LABELS}]),
    "DataParallel": (Two, lambda: [(IMAGES, DEPTH)]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_the_statistics_are_those_of_the_batches(name: str) -> None:
    kind, batches = GIVEN[name]
    model = kind().eval()
    netslim.recalibrate(nn.DataParallel(model) if name == "DataParallel" else model, batches())
    inputs = IMAGES if kind is One else torch.cat([IMAGES, DEPTH], 1)
    torch.testing.assert_close(model.norm.running_mean, inputs.mean((0, 2, 3)))
    torch.testing.assert_close(model.norm.running_var, inputs.var((0, 2, 3)))
    assert not model.norm.training


def broken() -> Any:
    yield IMAGES
    raise KeyboardInterrupt


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (list, "there is none"),
    "another shape": (lambda: [IMAGES, DEPTH], "number 2 does not fit the model"),
    "one value per channel": (lambda: [IMAGES[:1, :, :1, :1]], "number 1 does not fit the model"),
    "other names": (
        lambda: [{"image": IMAGES, "label": LABELS}],
        "a batch has image, label, the model takes x",
    ),
    "NaN": (lambda: [IMAGES * float("nan")], "NaN or infinite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_failure_leaves_the_statistics_as_they_were(name: str) -> None:
    batches, expected = REFUSED[name]
    model = One()
    model(IMAGES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(DataError, match=expected):
        netslim.recalibrate(model, batches())
    with pytest.raises(KeyboardInterrupt):
        netslim.recalibrate(model, broken())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.norm.momentum == 0.1
