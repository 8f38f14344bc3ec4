"""Augmentation of whole batches: crop and mirror as one gather from a strided view, and bends. No torch here.

(Images that do not fit in memory are cropped while they are decoded: `netslim.training.loaders.streaming`.)

Images are padded with black once, mirrored copies are stored beside them, and every possible crop of every
image is a window into that memory. Cutting a batch is then one indexing expression, `windows[image,
mirrored, dy, dx]`, the same in numpy and in torch (numpy's copies rows of bytes; it is 50 times faster than
PIL transforms on one core, and cheaper than the normalisation that follows).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AUGMENTATIONS", "Augmentation", "Draws", "Warp", "Windows", "draw", "maps", "windows"]


@dataclass(frozen=True)
class Warp:
    """How far an image may be turned, scaled, slanted and moved; each is drawn evenly from -x to x."""

    degrees: float
    scale: float
    """Share by which it grows or shrinks."""
    shear: float
    """Columns that a row moves per row."""
    shift: float
    """Pixels, in both directions."""


@dataclass(frozen=True)
class Augmentation:
    """Random crops of the image padded by `pad` pixels of black, mirrored half of the time with `mirror`.

    With `warp`, the crop is then bent as well; what comes in from outside the image is black.
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
class Windows:
    """Every crop of every image as a view: element strides of `memory`, so numpy and torch can both take it.

    `shape` is (images, mirrored, dy, dx, height, width * channels).
    """

    memory: NDArray[np.uint8]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def numpy(self) -> NDArray[np.uint8]:
        return np.lib.stride_tricks.as_strided(self.memory, self.shape, self.strides, writeable=False)


@dataclass(frozen=True)
class Draws:
    """One epoch's choices: which image comes k-th, and how it is cut. int64[n] each.

    `bent` are five numbers from -1 to 1 for each image, float32[n, 5]: how far it is turned, scaled, slanted,
    and moved right and down, in parts of what its `Warp` allows; None without one.
    """

    image: NDArray[np.int64]
    mirrored: NDArray[np.int64]
    dy: NDArray[np.int64]
    dx: NDArray[np.int64]
    bent: NDArray[np.float32] | None = None

    def __getitem__(self, part: slice) -> tuple[NDArray[np.int64], ...]:
        return self.image[part], self.mirrored[part], self.dy[part], self.dx[part]


def windows(images: NDArray[np.uint8], augmentation: Augmentation) -> Windows:
    """The crops of `images`, uint8[n, height, width, channels].

    Takes memory for the padded images, twice that with mirroring, and none without either.
    """
    n, height, width, channels = images.shape
    pad = augmentation.pad
    padded = images
    if pad:
        padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    stack = np.stack([padded, padded[:, :, ::-1]], axis=1) if augmentation.mirror else padded[:, None]
    stack = np.ascontiguousarray(stack)
    image, mirrored, row, column, _ = stack.strides  # in bytes, which for uint8 is in elements
    return Windows(
        stack,
        (n, stack.shape[1], 2 * pad + 1, 2 * pad + 1, height, width * channels),
        (image, mirrored, row, column, row, 1),
    )


def draw(n: int, augmentation: Augmentation, *, seed: int, epoch: int) -> Draws:
    """The order and the crops of one epoch over `n` images: a function of seed and epoch alone.

    So an epoch can be entered in its middle, by a resumed run or by one process of several.
    """
    random = np.random.default_rng([seed, epoch])
    spread = 2 * augmentation.pad + 1
    return Draws(
        image=random.permutation(n),
        mirrored=random.integers(1 + augmentation.mirror, size=n),
        dy=random.integers(spread, size=n),
        dx=random.integers(spread, size=n),
        bent=random.uniform(-1, 1, (n, 5)).astype(np.float32) if augmentation.warp else None,
    )


def maps(bent: NDArray[np.float32], warp: Warp, size: tuple[int, int]) -> NDArray[np.float32]:
    """Where each pixel of the bent image comes from, float32[n, 2, 3] as torch's `affine_grid` takes it.

    A row of the result maps (x, y, 1) to a place in the image, with -1 and 1 at the image's borders.

    Args:
        bent: the draws of n images, float32[n, 5].
        warp: what they are parts of.
        size: height and width, in pixels.
    """
    height, width = size
    turn, grow, slant, right, down = bent.T * np.array(
        [[np.deg2rad(warp.degrees)], [warp.scale], [warp.shear], [warp.shift], [warp.shift]], np.float32
    )
    cos, sin = np.cos(turn) / (1 + grow), np.sin(turn) / (1 + grow)
    # Rotation times shear, in pixels; the factors make it one of half image sizes.
    first = [cos, (cos * slant - sin) * height / width, -2 * right / width]
    second = [sin * width / height, sin * slant + cos, -2 * down / height]
    return np.stack([np.stack(first, 1), np.stack(second, 1)], 1).astype(np.float32)
