"""What a bundle's files are called, how large they may be, and the list of their checksums."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from netslim.errors import BundleError
from netslim.storage.atomic import atomic_file, sha256

__all__ = [
    "CARD",
    "FOREIGN",
    "INT8",
    "LABELS",
    "LATENCY",
    "LIMITS",
    "METRICS",
    "MODEL",
    "PREPROC",
    "SAMPLES",
    "SIGNATURE",
    "SIGNED",
    "SLIMMING",
    "SUMS",
    "listed",
    "model_file",
    "seal",
]

MODEL, PREPROC, INT8 = "model.onnx", "model.preproc.onnx", "model.int8.onnx"
LABELS, SIGNATURE, SLIMMING, SAMPLES = "labels.txt", "signature.json", "slimming.json", "samples.safetensors"
METRICS, LATENCY, CARD, SUMS = "metrics.json", "latency.json", "README.md", "SHA256SUMS"
SIGNED = "model.sig"

TEXT, WEIGHTS = 16 << 20, 2 << 30  # bytes; one ONNX file without external data cannot exceed 2 GiB
LIMITS = {
    MODEL: WEIGHTS,
    PREPROC: WEIGHTS,
    INT8: WEIGHTS,
    SAMPLES: 256 << 20,
    **dict.fromkeys((LABELS, SIGNATURE, SLIMMING, METRICS, LATENCY, CARD), TEXT),
    SUMS: 1 << 16,
    SIGNED: 1 << 20,
}
"""Every file that a bundle may have, and the most bytes of it that are ever read."""

OPTIONAL = {PREPROC, INT8}
UNLISTED = {SUMS, SIGNED}
"""What cannot be in the list of checksums: itself, and the signature, which covers it."""
FOREIGN = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"}
"""Files that MLflow lays beside a bundle's own; nobody vouches for them and nothing of ours reads them."""

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def seal(folder: Path) -> None:
    """Write SHA256SUMS over the bundle's files in `folder`, as `sha256sum --check` reads it."""
    names = sorted(name for name in LIMITS if name not in UNLISTED and (folder / name).is_file())
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names]
    with atomic_file(folder / SUMS) as draft:
        draft.write_text("".join(lines), encoding="utf-8")


def listed(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The checksums that the bundle's SHA256SUMS lists, by file name.

    Raises:
        BundleError: there is none, or it names anything but the files of a bundle, each of them once.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BundleError("no such folder", field=str(folder), remedy="Give the folder that holds model.onnx")
    try:
        text = read_small(place, SUMS).decode("ascii")
    except UnicodeDecodeError as error:
        raise _wrong("it is no text") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise _wrong(f"line {number} is not `checksum  name`")
        name = found[2]
        if name not in LIMITS or name in UNLISTED:
            raise _wrong(f"line {number} names {name[:80]!r}, which no bundle has")
        if name in sums:
            raise _wrong(f"{name} is listed twice")
        sums[name] = found[1]
    if absent := [name for name in LIMITS if name not in {*sums, *OPTIONAL, *UNLISTED}]:
        raise _wrong(f"{', '.join(absent)} not listed")
    return sums


def regular(folder: Path, name: str) -> int:
    """The size of one of the bundle's files, which must be a plain file of a size that a bundle may have.

    Raises:
        BundleError: it is missing, a link, a device, or too large.
    """
    try:
        found = os.lstat(folder / name)
    except OSError as error:
        raise BundleError("is missing", field=name) from error
    if not stat.S_ISREG(found.st_mode):
        raise BundleError("is no plain file (a link, a folder or a device)", field=name)
    if found.st_size > LIMITS[name]:
        raise BundleError(f"has {found.st_size:,} bytes, more than {LIMITS[name]:,}", field=name)
    return found.st_size


def read_small(folder: Path, name: str) -> bytes:
    """The content of one of the bundle's files that is small enough.

    Raises:
        BundleError: see `regular`; or it cannot be read.
    """
    size = regular(folder, name)
    try:
        with open(folder / name, "rb") as stream:
            content = stream.read(size + 1)
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})", field=name) from error
    if len(content) != size:
        raise BundleError("changes while it is read", field=name)
    return content


def model_file(path: str | os.PathLike[str]) -> Path:
    """The ONNX file of a bundle, or `path` itself when it is a file."""
    place = Path(path)
    file = place / MODEL if place.is_dir() else place
    if not file.is_file():
        raise BundleError("no bundle and no ONNX file", field=str(path), remedy="Give the folder of a bundle")
    return file


def _wrong(problem: str) -> BundleError:
    return BundleError(problem, field=SUMS, remedy="Fetch the bundle again from where it was published")
