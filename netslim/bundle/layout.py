"""The files of a bundle: their names, their largest sizes, and the list of their checksums."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from netslim.errors import BundleError
from netslim.storage.digests import SUMS, write_digests

__all__ = [
    "CARD",
    "CHECKSUMS",
    "INT8",
    "KEY_SIGNATURE",
    "LABELS",
    "LATENCY",
    "METRICS",
    "MLFLOW_FILES",
    "MODEL",
    "NOT_LISTED",
    "PREPROC",
    "SAMPLES",
    "SIGNATURE",
    "SIZE_LIMITS",
    "SLIMMING",
    "file_size",
    "listed_models",
    "model_file",
    "read_checksums",
    "read_file",
    "read_json",
    "write_checksums",
]

MODEL, PREPROC, INT8 = "model.onnx", "model.preproc.onnx", "model.int8.onnx"
LABELS, SIGNATURE, SLIMMING, SAMPLES = "labels.txt", "signature.json", "slimming.json", "samples.safetensors"
METRICS, LATENCY, CARD, CHECKSUMS = "metrics.json", "latency.json", "README.md", SUMS
KEY_SIGNATURE = "model.sig"

_TEXT, _WEIGHTS = 16 << 20, 2 << 30  # bytes; one ONNX file without external data cannot exceed 2 GiB
SIZE_LIMITS = {
    MODEL: _WEIGHTS,
    PREPROC: _WEIGHTS,
    INT8: _WEIGHTS,
    SAMPLES: 256 << 20,
    **dict.fromkeys((LABELS, SIGNATURE, SLIMMING, METRICS, LATENCY, CARD), _TEXT),
    CHECKSUMS: 1 << 16,
    KEY_SIGNATURE: 1 << 20,
}
"""Every file that a bundle may contain, and its largest size in bytes. A larger file is never read."""

NOT_LISTED = {CHECKSUMS, KEY_SIGNATURE}
"""Files without a checksum: the list itself, and the signature, which covers the list."""

MLFLOW_FILES = {"MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"}
"""Files that MLflow adds to the folder. They have no checksum, and netslim does not read them."""

_OPTIONAL = {PREPROC, INT8}
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS over the bundle's files in `folder`, in the format of `sha256sum --check`."""
    write_digests(
        folder, (name for name in SIZE_LIMITS if name not in NOT_LISTED and (folder / name).is_file())
    )


def read_checksums(folder: str | os.PathLike[str]) -> dict[str, str]:
    """The SHA-256 of each file that the bundle's SHA256SUMS lists, by file name.

    Raises:
        BundleError: there is no such folder or list, a line is malformed, a name is unknown or occurs twice,
            or a required file is not listed.
    """
    path = Path(folder)
    if not path.is_dir():
        remedy = "Give the folder that contains model.onnx"
        raise BundleError("no such folder", field=str(folder), remedy=remedy)
    try:
        text = read_file(path, CHECKSUMS).decode("ascii")
    except UnicodeDecodeError as error:
        raise _wrong_list("it is not ASCII text") from error
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _wrong_list(f"line {number} is not `checksum  name`")
        checksum, name = match.groups()
        if name not in SIZE_LIMITS or name in NOT_LISTED:
            raise _wrong_list(f"line {number} names {name[:80]!r}, which is not a file of a bundle")
        if name in checksums:
            raise _wrong_list(f"{name} is listed twice")
        checksums[name] = checksum
    if missing := [name for name in SIZE_LIMITS if name not in {*checksums, *_OPTIONAL, *NOT_LISTED}]:
        raise _wrong_list(f"{', '.join(missing)} not listed")
    return checksums


def listed_models(folder: Path) -> list[str]:
    """The names of the ONNX files that SHA256SUMS lists.

    Raises:
        BundleError: see `read_checksums`.
    """
    checksums = read_checksums(folder)
    return [name for name in (MODEL, PREPROC, INT8) if name in checksums]


def file_size(folder: Path, name: str) -> int:
    """The size in bytes of the bundle's file `name`, which must be a regular file within its size limit.

    Raises:
        BundleError: it is missing, a link, a folder, a device, or too large.
    """
    try:
        status = os.lstat(folder / name)
    except OSError as error:
        raise BundleError("is missing", field=name) from error
    if not stat.S_ISREG(status.st_mode):
        raise BundleError("is not a regular file (a link, a folder or a device)", field=name)
    if status.st_size > SIZE_LIMITS[name]:
        raise BundleError(f"has {status.st_size:,} bytes, more than {SIZE_LIMITS[name]:,}", field=name)
    return status.st_size


def read_file(folder: Path, name: str) -> bytes:
    """The content of the bundle's file `name`.

    Raises:
        BundleError: see `file_size`; or the file cannot be read.
    """
    size = file_size(folder, name)
    try:
        with open(folder / name, "rb") as stream:
            content = stream.read(size + 1)
    except OSError as error:
        raise BundleError(f"cannot be read ({error.strerror})", field=name) from error
    if len(content) != size:
        raise BundleError("changes while it is read", field=name)
    return content


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The JSON object in the bundle's file `name`.

    Raises:
        BundleError: see `read_file`; or the file does not contain an object.
        ValueError: it is not JSON, or contains NaN or Infinity, which JSON does not allow, or a number that
            is too large for a float (1e999), which would become infinite.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant[:80]} is not a finite JSON number")

    def finite(text: str) -> float:
        return number if math.isfinite(number := float(text)) else refuse(text)

    content = read_file(folder, name).decode("utf-8")
    value = json.loads(content, parse_constant=refuse, parse_float=finite)
    if not isinstance(value, dict):
        raise BundleError("is not a JSON object", field=name)
    return value


def model_file(path: str | os.PathLike[str]) -> Path:
    """model.onnx of the bundle `path`, or `path` itself when it is a file.

    Raises:
        BundleError: there is no such file.
    """
    given = Path(path)
    file = given / MODEL if given.is_dir() else given
    if not file.is_file():
        problem = "neither a bundle nor an ONNX file"
        raise BundleError(problem, field=str(path), remedy="Give the folder of a bundle")
    return file


def _wrong_list(problem: str) -> BundleError:
    return BundleError(problem, field=CHECKSUMS, remedy="Fetch the bundle again from where it was published")
