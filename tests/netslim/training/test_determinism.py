"""torch's deterministic algorithms, for the length of a block."""

from __future__ import annotations

import os

import pytest
import torch

from netslim.errors import ConfigError, TrainingError
from netslim.training.determinism import CUBLAS_WORKSPACE, deterministic_algorithms, reserve_workspace


def switches() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def test_the_switches_are_set_in_the_block_and_restored() -> None:
    before = switches()
    torch.backends.cudnn.benchmark = True
    with deterministic_algorithms():
        assert switches() == (True, False, True, False)
    assert torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before[3]
    assert switches() == before


def test_a_layer_without_a_deterministic_algorithm_is_an_error_of_one_sentence() -> None:
    values = torch.zeros(3)
    with (
        pytest.raises(
            TrainingError, match=r"deterministic: put_ .*\. Train without --deterministic"
        ) as caught,
        deterministic_algorithms(),
    ):
        values.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))  # which of the two stays is not defined
    assert caught.value.exit_code == 5
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="out of memory"), deterministic_algorithms():
        raise RuntimeError("out of memory")


def test_the_workspace_of_cublas_is_set_before_the_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = CUBLAS_WORKSPACE
    monkeypatch.setenv(name, "")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="before the GPU is used") as caught:
        reserve_workspace()
    assert caught.value.field == "deterministic"
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    reserve_workspace()
    assert os.environ[name] == value
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    reserve_workspace()  # it is there already
    monkeypatch.setenv(name, ":16:8")
    reserve_workspace()
    assert os.environ[name] == ":16:8"
