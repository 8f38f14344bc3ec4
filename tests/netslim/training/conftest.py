"""One CPU thread for every test of training: with such small networks, threads only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netslim.training.device import cpu_threads


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield
