"""Placing a model and putting everything back."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from netslim.training.device import autocast_dtype, best_device, cpu_threads, model_on_device


def test_a_placed_model_is_channels_last_inside_and_as_it_was_outside():
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


FAULTS = """
import ctypes, resource, sys, torch
from netslim.training.device import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no pages of 2 MiB, of which so few are asked for
if sys.argv[1] == "keep":
    keep_freed_memory()
for turn in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(2**20).add_(1) for _ in range(16)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_kept_for_the_next_step():
    def faults(how: str) -> int:
        """How often the system has to be asked for a page when 64 MiB are taken for the fifth time."""
        done = subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True)
        return int(done.stdout)

    assert faults("keep") < 100
    assert faults("as it is") > 10_000


def test_precision_is_what_was_asked_for():
    cpu = torch.device("cpu")
    assert autocast_dtype("fp32", cpu) is None
    assert autocast_dtype("bf16", cpu) == torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_the_cpu_multiplies_it(monkeypatch, native):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert autocast_dtype("auto", torch.device("cpu")) == (torch.bfloat16 if native else None)


def test_the_best_device_is_there():
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    torch.zeros(1, device=best_device())
