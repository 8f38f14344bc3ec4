"""The pixels of an image in 8 bits, from every kind of pixels whose range from black to white is fixed.

Pillow cuts values of 16 bits and of floats off at 255, which makes white or black images of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["is_deep", "is_grey", "is_readable", "share_of_white", "to_8_bits"]

DEEPEST = 65535
_DEEP = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"})

# The 256 values of 8 bits for the 65,536 of 16 bits, rounded.
_EIGHT_OF_SIXTEEN = ((np.arange(DEEPEST + 1) + 128) // 257).astype(np.uint8)


def is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with 16 bits. Pillow reads such PGM files into 32 bits, scaled to 65535."""
    return image.mode in _DEEP or (image.mode == "I" and image.format in ("PNG", "PPM"))


def is_grey(image: Image.Image) -> bool:
    """Whether the image has no colours."""
    return image.mode in _GREY or is_deep(image)


def is_readable(image: Image.Image) -> bool:
    """Whether `to_8_bits` takes the image: not floats, and not 32 bits, whose white could be any value."""
    return image.mode in _COLOUR or is_grey(image)


def to_8_bits(image: Image.Image, mode: str) -> Image.Image:
    """The image with 8 bits per channel, on white where it is transparent.

    Args:
        image: an image that `is_readable`, decoded.
        mode: "RGB" or "L".
    """
    import PIL.Image

    if is_deep(image):
        values = np.asarray(image).astype(np.uint16)
        pixels = _EIGHT_OF_SIXTEEN[values]
        if "transparency" in image.info:  # one value of grey that is not shown
            pixels[values == image.info["transparency"]] = 255
        return PIL.Image.fromarray(pixels).convert(mode)
    if image.has_transparency_data:
        above = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), above).convert(mode)
    return image.convert(mode)


def share_of_white(image: Image.Image) -> float:
    """The largest value of a deep image, as a share of white."""
    values: NDArray[Any] = np.asarray(image)
    return float(values.max()) / DEEPEST
