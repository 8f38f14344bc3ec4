"""One image file: opened with bounds on its cost, checked by its header, decoded to 8 bits. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from netslim.data.pixel_modes import is_deep, is_grey, is_readable, share_of_white, to_8_bits
from netslim.errors import DataError, NetslimError, first_line

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MAX_SIDE", "Header", "brightest", "decode", "header"]

MAX_SIDE = 8192
"""The largest side to which images are resized, in pixels."""

MAX_PIXELS = MAX_SIDE**2
"""The largest image that is decoded. As RGB it takes 192 MiB; a file of a few kB can claim much more."""

# The first bytes decide the format, not the suffix, so a file that is named .png could be PostScript, which
# Pillow passes to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

ORIENTATION = 0x0112  # the EXIF tag: how the camera was held
SIDEWAYS = (5, 6, 7, 8)


class Header(NamedTuple):
    """What the header of an image file says.

    Args:
        size: height and width in pixels, as a viewer shows the image.
        grey: whether it has no colours.
        deep: whether it has 16 bits per pixel.
    """

    size: tuple[int, int]
    grey: bool
    deep: bool


def decode(file: Path, mode: str = "RGB") -> Image.Image:
    """Read an image file as a viewer shows it: turned by its EXIF orientation, and on white if transparent.

    16 bits per pixel become 8: 0 to 65535 are 0 to 255.

    Args:
        mode: "RGB", or "L" for grey.

    Raises:
        DataError: it is missing, truncated, not an image, too large, animated, or its pixels have no fixed
            range.
    """
    from PIL import ImageOps

    with _opened(file) as image:
        image.load()
        upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
        upright.format = image.format
        return to_8_bits(upright, mode)


def header(file: Path) -> Header:
    """The header of an image file; its pixels are not read.

    Raises:
        DataError: as `decode`, except that the pixels may be truncated.
    """
    with _opened(file) as image:
        width, height = image.size
        if _orientation(image) in SIDEWAYS:
            width, height = height, width
        return Header((height, width), is_grey(image), is_deep(image))


def brightest(file: Path) -> float:
    """The largest value of an image of 16 bits, as a share of white.

    Raises:
        DataError: as `decode`.
    """
    with _opened(file) as image:
        return share_of_white(image)


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    from PIL import Image

    try:
        # Not by its path: Pillow 13 maps an uncompressed TIFF that is to be turned with its sides exchanged.
        with file.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
            _check(image, file)
            yield image
    except NetslimError:
        raise
    except FileNotFoundError as error:
        raise DataError("no such image", field=str(file), remedy="Prepare the dataset again") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(file, "an image") from error
    except Exception as error:  # for a damaged file Pillow raises any exception
        remedy = "It is truncated or not an image; replace or remove it"
        problem = f"cannot be decoded ({first_line(error)})"
        raise DataError(problem, field=str(file), remedy=remedy) from error


def _check(image: Image.Image, file: Path) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(file, f"an image of {image.height:,} x {image.width:,} pixels")
    # Telephones add a preview to their JPEG files; the format of such a file is MPO.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        remedy = "Store each frame or page that you need as an image of its own"
        raise DataError("holds more than one image", field=str(file), remedy=remedy)
    if not is_readable(image):
        remedy = "Convert it to 8 or 16 bits per channel: its pixels have no fixed range from black to white"
        raise DataError(f"has pixels of the kind {image.mode}", field=str(file), remedy=remedy)


def _too_large(file: Path, what: str) -> DataError:
    remedy = f"Scale it down, or remove it: at most {MAX_PIXELS / 1e6:.0f} million pixels are decoded"
    return DataError(f"is too large: {what}", field=str(file), remedy=remedy)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it cannot be read, as viewers do."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself
    if image.format == "PNG" and not image.info.keys() & {"exif", "Raw profile type exif"}:
        return 1  # else Pillow would decode the image to look behind it
    try:
        value = int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # for damaged EXIF data Pillow raises any exception
        return 1
    return value if 1 <= value <= 8 else 1
