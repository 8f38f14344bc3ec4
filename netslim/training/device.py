"""The device of training: which one, how many threads, and a model placed on it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from netslim.errors import TrainingError
from netslim.nn.device_check import does_not_compute
from netslim.nn.modes import restored_modes

__all__ = ["best_device", "cpu_threads", "keep_freed_memory", "model_on_device"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # from glibc's malloc.h


def best_device() -> torch.device:
    """The current CUDA device if there is one, else the CPU.

    Raises:
        TrainingError: the CUDA device does not compute.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", torch.cuda.current_device())
    if problem := does_not_compute(device):
        remedy = "Install a torch for this GPU and its driver; with CUDA_VISIBLE_DEVICES= the CPU is used"
        raise TrainingError(f"does not compute ({problem})", field=str(device), remedy=remedy)
    return device


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with `count` CPU threads (0: no change), then restore the number.

    Sums are split by thread, so results are bit-identical only with the same count. One is fastest for tiny
    networks, where thread synchronisation costs more than the computation.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Make this process keep the memory that it frees, where the C library is glibc; else do nothing.

    By default glibc returns large blocks to the system, and the next batch on a CPU requests them again page
    by page, which is a tenth to a fourth of a small ResNet's training time. This changes the whole process:
    call it only in a process that trains and nothing else.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_MMAP_MAX, 0)


@contextmanager
def model_on_device(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Place a model on `device` in channels-last memory for a block; then move it back, in its old modes.

    Its parameters stay the same objects. Afterwards their memory is contiguous, as in a freshly built model.
    """
    home = next(model.parameters()).device
    with restored_modes(model):
        try:
            yield _to_memory_format(model.to(device), torch.channels_last)
        finally:
            _to_memory_format(model.to(home), torch.contiguous_format)


def _to_memory_format(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    for parameter in model.parameters():
        if parameter.dim() == 4:  # Module.to(memory_format=...) would refuse a model that also has Conv3d
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
    return model
