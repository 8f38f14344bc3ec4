"""One image file of each kind: the pixels that a viewer shows, or an error with the file's name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from netslim.data.image_file import MAX_PIXELS, brightest, decode, header
from netslim.errors import DataError

RAMP16 = np.array([[0, 257, 20_000], [32_768, 65_278, 65_535]], np.uint16)
RAMP8 = np.array([[0, 1, 78], [128, 254, 255]], np.uint8)  # the above / 257, rounded by hand
GREY = np.array([[10, 200], [30, 40], [50, 60]], np.uint8)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], bits: int = 8, colour: int = 0) -> bytes:
    """A PNG file by its specification, with the given chunks behind the header."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def pgm(values: NDArray[np.uint16], largest: int) -> bytes:
    height, width = values.shape
    return b"P5\n%d %d\n%d\n" % (width, height, largest) + values.astype(">u2").tobytes()


def palette(*, transparent: int | None = None) -> Image.Image:
    """One red and one blue pixel, by a palette."""
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


def saved(image: Image.Image, suffix: str, **options: Any) -> Callable[[Path], None]:
    return lambda file: image.save(file.with_suffix(suffix), **options)


def array(values: Any) -> Image.Image:
    return Image.fromarray(np.asarray(values))


def one_file(write: Callable[[Path], None] | bytes, folder: Path) -> Path:
    """The only file in `folder`, after `write` has made it."""
    if isinstance(write, bytes):
        (folder / "image.png").write_bytes(write)
    else:
        write(folder / "image")
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize(
    ("write", "grey", "deep", "pixels"),
    [
        pytest.param(saved(array(GREY), ".png"), True, False, GREY, id="8-bit grey PNG"),
        pytest.param(saved(array(GREY), ".PNG"), True, False, GREY, id="suffix in upper case"),
        pytest.param(saved(array(GREY > 100), ".png"), True, False, (GREY > 100) * 255, id="1-bit PNG"),
        pytest.param(saved(array(GREY > 100), ".pbm"), True, False, (GREY > 100) * 255, id="1-bit PBM"),
        pytest.param(saved(array(RAMP16), ".png"), True, True, RAMP8, id="16-bit PNG"),
        pytest.param(saved(array(RAMP16), ".tif"), True, True, RAMP8, id="16-bit TIFF"),
        pytest.param(saved(array(RAMP16.astype(">u2")), ".tif"), True, True, RAMP8, id="big-endian TIFF"),
        pytest.param(pgm(RAMP16, 65_535), True, True, RAMP8, id="16-bit PGM"),
        pytest.param(pgm(RAMP16 // 257 * 4, 1_020), True, True, RAMP16 // 257, id="10-bit PGM"),
        pytest.param(
            png(
                *(2, 1, (b"tRNS", b"\x80\x00"), (b"IDAT", zlib.compress(b"\0\x80\x00\x40\x00"))),
                bits=16,
            ),
            *(True, True, [[255, 64]]),
            id="16-bit PNG with a transparent value",
        ),
        pytest.param(
            png(1, 1, (b"IDAT", zlib.compress(b"\0\xff\xff\x80\x00\x00\x00")), bits=16, colour=2),
            *(False, False, [[[255, 128, 0]]]),
            id="16-bit RGB PNG",
        ),
        pytest.param(
            saved(array(np.array([[[9, 255], [9, 0]]], np.uint8)), ".png"),
            *(True, False, [[9, 255]]),
            id="grey with alpha",
        ),
        pytest.param(
            saved(array(np.array([[[*RED, 255], [*RED, 0], [*RED, 51]]], np.uint8)), ".png"),
            *(False, False, [[RED, (255, 255, 255), (255, 204, 204)]]),
            id="RGBA: 255, 0 and 51 of 255 opaque",
        ),
        pytest.param(saved(palette(), ".png"), False, False, [[RED, BLUE]], id="palette"),
        pytest.param(
            saved(palette(transparent=0), ".png"),
            *(False, False, [[(255, 255, 255), BLUE]]),
            id="palette with a transparent colour",
        ),
        pytest.param(saved(palette(), ".gif"), False, False, [[RED, BLUE]], id="GIF"),
        pytest.param(
            saved(Image.new("CMYK", (2, 1), (0, 255, 255, 0)), ".tif"),
            *(False, False, [[RED, RED]]),
            id="CMYK",
        ),
    ],
)
def test_every_kind_has_the_pixels_that_a_viewer_shows(
    write: Callable[[Path], None] | bytes, grey: bool, deep: bool, pixels: Any, tmp_path: Path
) -> None:
    file = one_file(write, tmp_path)
    wanted = np.asarray(pixels, np.uint8)
    found = np.asarray(decode(file, "L" if grey else "RGB"))
    assert np.array_equal(found, wanted)
    assert header(file) == (wanted.shape[:2], grey, deep)
    if grey:
        assert np.array_equal(np.asarray(decode(file)), np.stack([wanted] * 3, -1))


# Where the row and the column 0 of the stored image are when it is upright (EXIF 2.3, table 6).
UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: stored.T[:, ::-1],
    7: lambda stored: stored.T[::-1, ::-1],
    8: lambda stored: stored.T[::-1],
    9: lambda stored: stored,  # is not defined
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_of_the_camera_is_followed(orientation: int, suffix: str, tmp_path: Path) -> None:
    stored = np.full((16, 24), 200, np.uint8)
    stored[:8, :8] = 20  # dark in one corner
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo{suffix}"
    image.save(file, exif=exif)
    wanted = UPRIGHT[orientation](stored)
    assert header(file).size == wanted.shape
    found = np.asarray(decode(file, "L")).astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted)[4:-4, 4:-4].mean() < 10


def test_damaged_exif_data_are_ignored_as_viewers_do(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert header(tmp_path / "a.jpg").size == decode(tmp_path / "a.jpg").size[::-1] == (3, 2)


def frames(suffix: str) -> Callable[[Path], None]:
    others = [array(GREY // 2), array(GREY // 4)]
    return saved(array(GREY), suffix, save_all=True, append_images=others)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(
            saved(array(np.array([[0.5]], np.float32)), ".tif"), "pixels of the kind F.*8 or 16", id="float"
        ),
        pytest.param(
            saved(array(np.array([[70_000]], np.int32)), ".tif"), "pixels of the kind I", id="32-bit"
        ),
        pytest.param(saved(Image.new("LAB", (2, 2)), ".tif"), "pixels of the kind LAB", id="LAB"),
        pytest.param(frames(".gif"), "more than one image.*of its own", id="GIF of several frames"),
        pytest.param(frames(".tif"), "holds more than one image", id="TIFF of several pages"),
        pytest.param(frames(".png"), "holds more than one image", id="PNG of several frames"),
        pytest.param(frames(".webp"), "holds more than one image", id="WebP of several frames"),
        pytest.param(b"", "cannot be decoded", id="empty"),
        pytest.param(b"GIF89a", "cannot be decoded", id="cut in the header"),
        pytest.param(b"<html></html>", "cannot be decoded", id="a web page"),
        pytest.param(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be decoded", id="PostScript"
        ),
        pytest.param(png(0, 5), "cannot be decoded", id="no columns"),
        pytest.param(
            png(8193, 8193), r"too large: an image of 8,193 x 8,193 pixels.*67 million", id="bomb of 60 bytes"
        ),
        pytest.param(png(20_000, 20_000), "is too large", id="bomb that Pillow refuses"),
        pytest.param(png(2**31 - 1, 1), "is too large", id="one line of 2 billion pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_has_no_clear_pixels_is_refused_by_name(
    write: Callable[[Path], None] | bytes, message: str, tmp_path: Path
) -> None:
    file = one_file(write, tmp_path)
    for read in (header, decode, brightest):
        with pytest.raises(DataError, match=rf"image.*: {message}|{message}") as caught:
            read(file)
        assert caught.value.field == str(file)
        assert caught.value.remedy


def test_a_truncated_file_is_found_by_decoding(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(40, 40, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp"):
        file = tmp_path / f"image{suffix}"
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:-400])
        with pytest.raises(DataError, match=r"cannot be decoded.*replace or remove it"):
            decode(file)


def test_the_preview_of_a_telephone_is_no_second_image(tmp_path: Path) -> None:
    preview = array(np.zeros((1, 1), np.uint8))
    array(GREY).save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[preview])
    assert header(tmp_path / "photo.jpg").size == GREY.shape


def test_the_largest_image_is_still_decoded(tmp_path: Path) -> None:
    side = round(MAX_PIXELS**0.5)
    (tmp_path / "large.png").write_bytes(png(side, side))
    assert header(tmp_path / "large.png").size == (side, side)


def test_the_brightest_value_is_a_share_of_white(tmp_path: Path) -> None:
    for kind, values in {"png": RAMP16 // 2, "tif": (RAMP16 // 2).astype(">u2")}.items():
        array(values).save(tmp_path / f"image.{kind}")
        assert brightest(tmp_path / f"image.{kind}") == pytest.approx(0.5, abs=1e-4)
