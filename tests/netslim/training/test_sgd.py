"""Our SGD against torch's, bit for bit."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from netslim.training.sgd import SGD


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_it_equals_torchs(momentum, nesterov, layout):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 7, 1)).to(memory_format=layout)
    theirs = copy.deepcopy(ours)
    for model in (ours, theirs):
        model[1].bias.requires_grad_(False)
    our = SGD(ours.parameters(), momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    their = torch.optim.SGD(
        theirs.parameters(), lr=1.0, momentum=momentum, nesterov=nesterov, weight_decay=0.01, fused=True
    )
    for step, lr in enumerate([0.3, 0.3, 0.03, 0.001]):
        for model in (ours, theirs):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    value = torch.randn(parameter.shape, generator=generator)
                    parameter.grad = torch.empty_like(parameter).copy_(value)
            if step == 2:
                model[0].weight.grad = None
        our.step(lr)
        their.param_groups[0]["lr"] = lr
        their.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    our.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters() if parameter.requires_grad)


def test_a_rate_in_a_tensor_gives_the_bits_of_the_number():
    """float32 on a GPU, where the kernel reads no other; 0.3 is rounded to it first."""
    rate = torch.tensor(0.3)
    results = []
    for lr in (rate, float(rate)):
        parameter = nn.Parameter(torch.linspace(-1, 1, 33))
        optimizer = SGD([parameter], momentum=0.9, nesterov=True, weight_decay=0.01)
        for step in range(3):
            parameter.grad = torch.sin(torch.arange(33.0) + step)
            optimizer.step(lr)
        results.append(parameter.detach())
    assert torch.equal(*results)


@pytest.mark.slow
def test_training_does_not_load_torchs_compiler():
    """The point of it: two seconds less in every training process."""
    script = """
import sys, torch
from netslim.training.sgd import SGD
layer = torch.nn.Linear(2, 2)
optimizer = SGD(layer.parameters(), momentum=0.9, nesterov=True, weight_decay=0.0)
layer(torch.ones(1, 2)).sum().backward()
optimizer.step(0.1)
import netslim.training.train
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
