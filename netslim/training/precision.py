"""The precision of training, by its name: true float32, TF32, or bfloat16.

TF32 is float32 with 10 instead of 23 bits behind the point in the products of convolutions and linear layers.
torch allows it in convolutions by default, so `fp32` has to switch it off. It exists on
NVIDIA GPUs since Ampere (A100); elsewhere, `tf32` is float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

__all__ = ["autocast_dtype", "default_precision", "fastest", "float32_products", "switches"]

T = TypeVar("T")
_BACKENDS: Any = torch.backends  # most of its switches have no types


def default_precision(device: torch.device) -> str:
    """What `auto` is without a trial: `bf16` where the hardware multiplies it, else `fp32`.

    It does so in Ampere and newer GPUs, and in CPUs with AVX512-BF16 or AMX. Elsewhere it would be emulated,
    and slower than float32.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)
    return "bf16" if native else "fp32"


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, or None for float32, with or without TF32.

    bfloat16 has float32's range, so gradients need no scaling.
    """
    if precision == "auto":
        precision = default_precision(device)
    return torch.bfloat16 if precision == "bf16" else None


def fastest(seconds: Mapping[str, Callable[[], float]]) -> tuple[str, dict[str, float]]:
    """The name whose function measures the fewest seconds (of equals the first), and all the seconds."""
    measured = {name: measure() for name, measure in seconds.items()}
    return min(measured, key=lambda name: measured[name]), measured


@contextmanager
def float32_products(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Multiply float32 tensors in TF32, or in true float32, for a block; then restore torch's switches.

    Nothing is changed for a device without TF32.
    """
    if device.type != "cuda":
        yield
        return
    with switches(tf32=tf32):
        yield


@contextmanager
def switches(*, tf32: bool) -> Iterator[None]:
    """Set torch's switches for TF32 for a block.

    torch has old and new names for them. Setting the old ones sets both, and setting the new ones alone would
    make every reader of the old ones fail. But only the new ones are restored to "none" (inherit).
    """
    operations = (_BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn)
    before = [operation.fp32_precision for operation in operations]
    cudnn = _unless_mixed(lambda: bool(_BACKENDS.cudnn.allow_tf32))
    matmul = _unless_mixed(torch.get_float32_matmul_precision)
    cpu = _BACKENDS.mkldnn.matmul.fp32_precision
    if cudnn != tf32:
        _set_old("cudnn", tf32)
    if matmul is None or (matmul != "highest") != tf32:
        _set_old("matmul", tf32)
    try:
        yield
    finally:
        if cudnn is not None:
            _set_old("cudnn", cudnn)
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
            _BACKENDS.mkldnn.matmul.fp32_precision = cpu
        for operation, value in zip(operations, before, strict=True):
            operation.fp32_precision = value


def _set_old(name: str, allowed: bool) -> None:
    """Set a switch by its old name."""
    owner = _BACKENDS.cudnn if name == "cudnn" else _BACKENDS.cuda.matmul
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch announce the new names
        owner.allow_tf32 = allowed


def _unless_mixed(read: Callable[[], T]) -> T | None:
    """The value of an old switch; None if the new ones were set to different values: it has no value then."""
    try:
        return read()
    except RuntimeError:
        return None
