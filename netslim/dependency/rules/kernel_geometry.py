"""The geometry of a convolution, from the arguments that torch's functions take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from netslim.dependency.layer_records import KernelGeometry

__all__ = ["kernel_geometry"]


def kernel_geometry(
    kernel: Sequence[int],
    input_size: Sequence[int],
    output_size: Sequence[int] | None,
    *,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
) -> KernelGeometry:
    """The geometry of one convolution.

    Args:
        kernel, input_size: the spatial sizes.
        output_size: the spatial size of the output; None to compute it, for a convolution that is not
            transposed.
        stride, padding, dilation: as the functions of torch take them; padding may be "same" or "valid".
    """
    axes = len(kernel)
    return _geometry(
        tuple(kernel),
        tuple(input_size),
        None if output_size is None else tuple(output_size),
        _for_each_axis(stride, axes),
        padding if isinstance(padding, str) else _for_each_axis(padding, axes),
        _for_each_axis(dilation, axes),
    )


@lru_cache(maxsize=1024)
def _geometry(
    kernel: tuple[int, ...],
    input_size: tuple[int, ...],
    output_size: tuple[int, ...] | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
) -> KernelGeometry:
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):  # "same" pads as much as the kernel reaches, one more behind if that is odd
        padded = reach if padding == "same" else [0] * len(kernel)
    else:
        padded = [2 * zeros for zeros in padding]
    if output_size is None:
        axes = zip(input_size, padded, reach, stride, strict=True)
        output_size = tuple((size + zeros - far - 1) // step + 1 for size, zeros, far, step in axes)
    return KernelGeometry(input_size, output_size, stride, tuple(zeros // 2 for zeros in padded), dilation)


def _for_each_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (int(value),) * axes if isinstance(value, int) else tuple(map(int, value))
