"""Choosing a device, placing a model on it, CPU threads and memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from netslim.errors import TrainingError
from netslim.nn.device_check import does_not_compute
from netslim.training.device import best_device, cpu_threads, model_on_device


def test_a_model_is_channels_last_in_the_block_and_unchanged_after_it():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(2, 2, 3), nn.BatchNorm2d(4)).train()
    model[2].eval()
    parameters, values = list(model.parameters()), [p.detach().clone() for p in model.parameters()]
    with model_on_device(model, torch.device("cpu")) as inside:
        assert inside is model
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        model.eval()
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(values, model.parameters(), strict=True))
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    assert [module.training for module in model.modules()] == [True, True, True, False]


def test_threads_are_restored():
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with cpu_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


FREED = """
import resource, sys, torch
from pathlib import Path
from netslim.training.device import keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resident()
blocks = [torch.zeros(2**20).add_(1) for _ in range(16)]
del blocks
print(resident() - before)
"""


@pytest.mark.slow
def test_freed_memory_stays_with_the_process() -> None:
    def still_resident(how: str) -> float:
        """MiB that a process still has after it has freed 64 MiB, in blocks of 4 MiB."""
        done = subprocess.run([sys.executable, "-c", FREED, how], check=True, capture_output=True, text=True)
        return float(done.stdout)

    assert still_resident("keep") > 56
    assert still_resident("as it is") < 16


def test_the_best_device_can_be_used():
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    torch.zeros(1, device=best_device())


def test_a_gpu_that_does_not_compute_is_an_error_of_one_sentence(monkeypatch):
    """The meta device computes nothing: its tensors have no values to read."""
    assert does_not_compute(torch.device("cpu")) == ""
    assert "meta" in does_not_compute(torch.device("meta"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr("netslim.training.device.does_not_compute", lambda device: "CUDA error: no kernel")
    with pytest.raises(TrainingError, match=r"cuda:3: does not compute \(CUDA error: no kernel\)\. .*torch"):
        best_device()
