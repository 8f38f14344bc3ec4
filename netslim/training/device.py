"""The machine's part in training: which device, how many threads, which precision."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["autocast_dtype", "best_device", "cpu_threads", "keep_freed_memory", "model_on_device"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # from glibc's malloc.h


def best_device() -> torch.device:
    """The current CUDA device if there is one, else the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with `count` CPU threads (0: as it is), then restore.

    Sums are split by thread, so results are bit-identical only under the same count. One is fastest for tiny
    networks, where the threads' meeting costs more than the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_freed_memory() -> None:
    """Have this process keep the memory it frees, as far as the C library (glibc) can be told to.

    By itself it gives large blocks back to the system, and what one batch on the CPU frees the next one takes
    again, page by page: a tenth to a fourth of a small ResNet's training. Meant for processes of our own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_MMAP_MAX, 0)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, or None for plain float32.

    `auto` is bfloat16 where the hardware multiplies it (Ampere and newer GPUs, CPUs with AVX512-BF16 or
    AMX); it would be emulated, and slower than float32, elsewhere. bfloat16 has float32's range: no
    gradient scaling.
    """
    if precision == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        precision = "bf16" if native else "fp32"
    return torch.bfloat16 if precision == "bf16" else None


@contextmanager
def model_on_device(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Have a model on `device` in channels-last memory for a block, then back where it was, in its old modes.

    Its parameters stay the same objects. Memory is contiguous afterwards, as in a freshly built model.
    """
    home = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield _laid_out(model.to(device), torch.channels_last)
    finally:
        _laid_out(model.to(home), torch.contiguous_format)
        for module, training in modes:
            module.training = training


def _laid_out(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    for parameter in model.parameters():
        if parameter.dim() == 4:  # Module.to(memory_format=...) would refuse a model that also has Conv3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
    return model
