"""A slim network compiles with `torch.jit.script`, also where layers select channels of a shared tensor."""

from __future__ import annotations

import io
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import netslim
from tests.helpers.proof import settled


class PreActivation(nn.Module):
    """Two residual blocks whose BatchNorms read a shared stream."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        stream = self.stem(images)
        stream = stream + self.convs[0](self.norms[0](stream).relu())
        stream = stream + self.convs[1](self.norms[1](stream).relu())
        logits: Tensor = self.head(self.norms[2](stream).relu().mean((2, 3)))
        return logits


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # deprecated, and still used for deployment
@pytest.mark.parametrize("policy", ["group", "select"])
@pytest.mark.parametrize("compensate", [False, True])
def test_a_slim_network_is_scripted_stored_and_loaded(
    policy: Literal["group", "select"], compensate: bool
) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    wide = settled(PreActivation(), images)
    slim = netslim.prune(wide, images, percent=0.5, policy=policy, compensate=compensate).model
    stored = io.BytesIO()
    torch.jit.save(torch.jit.script(slim), stored)
    stored.seek(0)
    loaded = torch.jit.load(stored)
    assert torch.equal(loaded.eval()(images), slim.eval()(images))
    assert torch.allclose(loaded.train()(images), slim.train()(images), rtol=1e-12)
