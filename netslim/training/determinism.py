"""Bit-identical training on a GPU: torch's deterministic algorithms, for the length of a training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from netslim.errors import ConfigError, TrainingError, first_line

__all__ = ["CUBLAS_WORKSPACE", "deterministic_algorithms", "reserve_workspace"]

CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""The variable by which cuBLAS gets fixed memory to work in, and NVIDIA's value for it. Without it, matrix
products may differ from run to run. cuBLAS reads it when the process uses the GPU for the first time."""


def reserve_workspace() -> None:
    """Set cuBLAS's variable, unless it is set. Call this before the GPU is used.

    Raises:
        ConfigError: the process has used a GPU already, without the variable.
    """
    name, value = CUBLAS_WORKSPACE
    if os.environ.get(name):
        return
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        problem = f"needs {name}={value} in the environment before the GPU is used"
        remedy = "Set the variable before Python starts"
        raise ConfigError(problem, field="deterministic", value=True, remedy=remedy)
    os.environ[name] = value


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Let torch take deterministic algorithms only, for a block; then restore its switches.

    Raises:
        TrainingError: an operation of the network has no deterministic algorithm.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        remedy = "Train without --deterministic, or replace the layer"
        raise TrainingError(first_line(error), field="deterministic", remedy=remedy) from error
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
