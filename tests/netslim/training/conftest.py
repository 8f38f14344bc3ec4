"""Tests of training run on the CPU, also where there is a GPU, and with one thread.

They compare weights bit for bit, count calls in Python, and use loops that are written out for the CPU. On a
GPU sums are rounded in another order, and a graph calls no Python; benchmarks/gpu.sh tests it. One thread,
because with such small networks threads only wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from netslim.training.device import cpu_threads


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and in those that a test starts."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
