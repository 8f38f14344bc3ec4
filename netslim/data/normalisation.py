"""Normalisation of pixels: (x / 255 - mean) / std, per channel, with the statistics of the training images.

Training, the measurement of ONNX files and the preprocessing inside `model.preproc.onnx` use the same two
vectors, so they compute the same float32 numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from netslim.data.info import DatasetInfo

__all__ = ["normalise", "scale_and_offset"]


def scale_and_offset(info: DatasetInfo) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vectors, float32[channels], with which `pixels * scale - offset` is (pixels / 255 - mean) / std."""
    mean, std = np.asarray(info.mean, np.float32), np.asarray(info.std, np.float32)
    return np.divide(1, np.float32(255) * std, dtype=np.float32), np.divide(mean, std, dtype=np.float32)


def normalise(images: NDArray[np.uint8], info: DatasetInfo) -> NDArray[np.float32]:
    """Pixels uint8[n, height, width, channels] as network input float32[n, channels, height, width]."""
    scale, offset = scale_and_offset(info)
    scaled = images.astype(np.float32) * scale - offset
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), np.float32)
