"""Augmentation of whole batches: crops, mirror images, and affine distortions ("warps"). No torch here.

(Images that do not fit in memory are cropped while they are decoded: `netslim.training.loaders.streaming`.)

Images are padded with black once, and mirror images are stored beside them. Every possible crop is a window
into that memory, so a batch is one indexing expression, `windows[image, mirrored, top, left]`, which copies
whole rows. It is 50 times faster than PIL transforms on one core, and cheaper than the normalisation that
follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "CropBatch",
    "Warp",
    "affine_matrices",
    "crop_windows",
    "draw_crops",
    "padded_rows",
]


@dataclass(frozen=True)
class Warp:
    """Limits of an affine distortion. Each amount is drawn evenly from -limit to limit."""

    degrees: float
    """Rotation."""
    scale: float
    """Share by which the image grows or shrinks."""
    shear: float
    """Columns that a row moves per row."""
    shift: float
    """Pixels, in both directions."""


@dataclass(frozen=True)
class Augmentation:
    """Random crops of the image padded by `pad` black pixels; with `mirror`, half of them are mirrored.

    With `warp`, the crop is then distorted as well; pixels from outside the image are black.
    """

    pad: int = 0
    mirror: bool = False
    warp: Warp | None = None


AUGMENTATIONS = {
    "affine": Augmentation(warp=Warp(degrees=12, scale=0.1, shear=0.15, shift=2)),  # for handwriting
    "none": Augmentation(),
    "shift1": Augmentation(pad=1),
    "pad4": Augmentation(pad=4),
    "pad4flip": Augmentation(pad=4, mirror=True),  # the CIFAR standard, and the paper's
}


@dataclass(frozen=True)
class CropBatch:
    """How each of n images is cropped and distorted: one epoch's choices, or by slicing those of a batch.

    The four indices are int64[n], as numpy arrays or as tensors on the device of the windows.
    """

    image: Any
    """Which image comes k-th."""
    mirrored: Any
    """0, or 1 for the mirror image."""
    top: Any
    """The crop's first row in the padded image."""
    left: Any
    """The crop's first column in the padded image."""
    warp: NDArray[np.float32] | None = None
    """float32[n, 5], from -1 to 1: rotation, scale, shear, shift to the right, shift down, as parts of the
    limits that `Warp` sets. None without a warp."""

    def __getitem__(self, part: slice) -> CropBatch:
        warp = None if self.warp is None else self.warp[part]
        return CropBatch(self.image[part], self.mirrored[part], self.top[part], self.left[part], warp)

    def of(self, windows: Any) -> Any:
        """The cropped rows, uint8[n, height, width * channels], of `crop_windows` or the same as a tensor."""
        return windows[self.image, self.mirrored, self.top, self.left]


def draw_crops(n: int, augmentation: Augmentation, *, seed: int, epoch: int) -> CropBatch:
    """The order and the crops of one epoch over `n` images: a function of seed and epoch alone.

    A resumed run, or one process of several, can therefore enter an epoch in its middle.
    """
    random = np.random.default_rng([seed, epoch])
    offsets = 2 * augmentation.pad + 1
    return CropBatch(
        image=random.permutation(n),
        mirrored=random.integers(1 + augmentation.mirror, size=n),
        top=random.integers(offsets, size=n),
        left=random.integers(offsets, size=n),
        warp=random.uniform(-1, 1, (n, 5)).astype(np.float32) if augmentation.warp else None,
    )


def padded_rows(images: NDArray[np.uint8], augmentation: Augmentation) -> NDArray[np.uint8]:
    """Images with their black border, and their mirror images, as rows of bytes.

    Memory is taken for the padded images, and twice that with mirroring; none without either.

    Args:
        images: uint8[n, height, width, channels].

    Returns:
        uint8[n, 1 or 2, height + 2 * pad, (width + 2 * pad) * channels]; axis 1 has the image and, with
        `mirror`, its mirror image.
    """
    pad = augmentation.pad
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else images
    variants = [padded, padded[:, :, ::-1]] if augmentation.mirror else [padded]
    stacked = np.stack(variants, axis=1) if augmentation.mirror else padded[:, None]
    n, _, height, width, channels = stacked.shape
    return np.ascontiguousarray(stacked).reshape(n, len(variants), height, width * channels)


def crop_windows(rows: NDArray[np.uint8], height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Every crop of `height` x `width` pixels, as a read-only view of `padded_rows`; nothing is copied.

    Returns:
        uint8[n, 1 or 2, tops, lefts, height, width * channels].
    """
    windows = sliding_window_view(rows, (height, width * channels), axis=(2, 3))
    return windows[:, :, :, ::channels]  # a crop begins at a pixel, not inside of one


def affine_matrices(
    warps: NDArray[np.float32], limits: Warp, image_size: tuple[int, int]
) -> NDArray[np.float32]:
    """The source of each pixel of the distorted images, as matrices for `torch.nn.functional.affine_grid`.

    With rotation t, scale s, shear h and shift (dx, dy), the pixel at (x, y) of the distorted image shows
    what was at (x', y'). Both are measured from the middle of the image, in pixels, y downwards:

        [ x' ]     1    [ cos t   -sin t ] [ 1   h ] [ x ]   [ dx ]
        [    ] = -----  [                ] [       ] [   ] - [    ]
        [ y' ]   1 + s  [ sin t    cos t ] [ 0   1 ] [ y ]   [ dy ]

    `affine_grid` measures in halves of the image's width and height instead, hence the factors below.

    Args:
        warps: amounts from -1 to 1, float32[n, 5], as in `CropBatch.warp`.
        limits: what 1 stands for.
        image_size: height and width, in pixels.

    Returns:
        float32[n, 2, 3]; each matrix maps (x, y, 1) to (x', y').
    """
    height, width = image_size
    t, s, h, dx, dy = warps.T * np.array(
        [[np.deg2rad(limits.degrees)], [limits.scale], [limits.shear], [limits.shift], [limits.shift]],
        np.float32,
    )
    cos, sin = np.cos(t) / (1 + s), np.sin(t) / (1 + s)
    x_row = [cos, (cos * h - sin) * height / width, -2 * dx / width]
    y_row = [sin * width / height, sin * h + cos, -2 * dy / height]
    return np.stack([np.stack(x_row, 1), np.stack(y_row, 1)], 1).astype(np.float32)
