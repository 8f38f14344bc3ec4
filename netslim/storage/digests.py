"""SHA-256 digests that travel with an artifact: written by its step, and checked by each step that reads it.

A folder has them in the file SHA256SUMS, in the format of `sha256sum --check`. A JSON document that is an
artifact of its own has its digest in the key "sha256". Version 0.1.0 wrote neither, so an artifact without
digests is accepted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netslim.errors import DataError, NetslimError
from netslim.storage.atomic import atomic_file, read_json, sha256

__all__ = [
    "REMEDY",
    "SUMS",
    "check_artifact",
    "check_digest",
    "check_digests",
    "with_digest",
    "write_digests",
]

SUMS = "SHA256SUMS"
KEY = "sha256"
REMEDY = "Run the step that wrote it again"
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^/\x00-\x1f]+)")


def write_digests(folder: str | os.PathLike[str], names: Iterable[str] | None = None) -> None:
    """Write SHA256SUMS over the files `names` of `folder`; by default over all that are not in subfolders.

    Raises:
        StorageError: the disk is full, or there is no permission to write.
    """
    root = Path(folder)
    if names is None:
        names = (entry.name for entry in os.scandir(root) if entry.is_file() and entry.name != SUMS)
    lines = [f"{sha256(root / name)}  {name}\n" for name in sorted(names)]
    with atomic_file(root / SUMS) as draft:
        draft.write_text("".join(lines), encoding="utf-8")


def check_digests(
    folder: str | os.PathLike[str], *names: str, error: type[NetslimError] = DataError
) -> dict[str, str]:
    """Compare files of `folder` with its SHA256SUMS. A folder without that file is accepted.

    Args:
        names: the files to check; by default all that are listed. A name that is not listed is not checked.
        error: the class of the exception.

    Returns:
        The digest of each file that was compared, by its name.

    Raises:
        DataError, or `error`: a file is missing, truncated or altered, or SHA256SUMS cannot be read.
    """
    root = Path(folder)
    compared: dict[str, str] = {}
    if not (root / SUMS).exists():
        return compared
    for name, expected in _read_sums(root / SUMS, error).items():
        if names and name not in names:
            continue
        file = root / name
        if not file.is_file():
            raise error("no such file, but SHA256SUMS lists it", field=str(file), remedy=REMEDY)
        try:
            actual = sha256(file)
        except OSError as cause:
            raise error(f"cannot be read ({cause.strerror})", field=str(file), remedy=REMEDY) from cause
        if actual != expected:
            problem = "truncated or altered: its SHA-256 is not the one in SHA256SUMS"
            raise error(problem, field=str(file), remedy=REMEDY)
        compared[name] = actual
    return compared


def with_digest(document: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object with its own SHA-256 in the key "sha256"."""
    return {**document, KEY: _digest(document)}


def check_digest(document: Any, field: str) -> None:
    """Compare a JSON object with the digest that `with_digest` added; one without it is accepted.

    Args:
        field: the name of the file, for the message.

    Raises:
        DataError: the object was altered.
    """
    if isinstance(document, Mapping) and KEY in document and document[KEY] != _digest(document):
        raise DataError(
            "altered: its SHA-256 is not the one that is written in it", field=field, remedy=REMEDY
        )


def check_artifact(path: str | os.PathLike[str]) -> None:
    """Check all of an artifact, a folder or one file, against the digests that it contains.

    Artifacts of version 0.1.0 contain none and are accepted when they are complete JSON, or HTML.

    Raises:
        DataError: it does not exist, or it is empty, truncated or altered.
    """
    artifact = Path(path)
    if artifact.is_dir():
        check_digests(artifact)
    elif not artifact.is_file():
        raise DataError("no such file or folder", field=str(artifact), remedy=REMEDY)
    elif not _is_html(artifact):
        check_digest(read_json(artifact), str(artifact))


def _is_html(file: Path) -> bool:
    """Reports contain no digest, and no step reads them."""
    with open(file, "rb") as stream:
        return stream.read(1) == b"<"


def _digest(document: Mapping[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != KEY}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _read_sums(file: Path, error: type[NetslimError]) -> dict[str, str]:
    """The digests by file name."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise error("not a list of checksums", field=str(file), remedy=REMEDY) from cause
    matches = [_LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise error("not a list of checksums: truncated or altered", field=str(file), remedy=REMEDY)
    return {match[2]: match[1] for match in matches if match}
