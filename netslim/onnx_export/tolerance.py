"""How far the logits of an ONNX file may be from PyTorch's. The export and `netslim verify` use this file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABSOLUTE", "RELATIVE", "is_close"]

RELATIVE = 1e-3
ABSOLUTE = 1e-5  # as a share of the scale: for small logits a fixed number would prove nothing


def is_close(result: NDArray[Any], expected: NDArray[Any], *, scale: float) -> bool:
    """Whether |result - expected| <= ABSOLUTE * scale + RELATIVE * |expected| for every value.

    Args:
        result, expected: arrays of one shape. A NaN or an infinite value is never close.
        scale: the largest absolute value that is expected.
    """
    if not (np.isfinite(result).all() and np.isfinite(expected).all()):
        return False
    return bool((np.abs(result - expected) <= ABSOLUTE * scale + RELATIVE * np.abs(expected)).all())
