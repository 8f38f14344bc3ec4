"""Atomic files and folders: written under another name in the same folder, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netslim.errors import DataError, NetslimError, StorageError

__all__ = [
    "atomic_directory",
    "atomic_file",
    "read_json",
    "sha256",
    "storage_errors",
    "write_bytes",
    "write_json",
]


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the usual failures of a disk in a `with` block into a StorageError about `path`.

    Other exceptions pass through.
    """
    try:
        yield
    except NetslimError:
        raise
    except Exception as error:  # safetensors has exceptions of its own
        code = _errno(error)
        if code in (errno.ENOSPC, errno.EDQUOT):
            remedy = "Free some space or choose another output; no incomplete file was left"
            raise StorageError("the disk is full", field=str(path), remedy=remedy) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "Choose a folder you may write to"
            raise StorageError("no permission to write here", field=str(path), remedy=remedy) from error
        if code == errno.ENAMETOOLONG:
            remedy = "Choose a shorter one"
            raise StorageError("the name is too long", field=str(path), remedy=remedy) from error
        if code in (errno.ENOTDIR, errno.EEXIST):
            remedy = "Choose another folder, or move the file away"
            raise StorageError("a file is in place of a folder", field=str(path), remedy=remedy) from error
        raise


def _errno(error: Exception) -> int | None:
    """The operating system's error number; None when the exception has none."""
    return error.errno if isinstance(error, OSError) else _errno_of_rust(error)


def _errno_of_rust(error: Exception) -> int | None:
    """The error number in the message of an exception from a library that is written in Rust.

    safetensors raises `SafetensorError("... No space left on device (os error 28)")`: the text, as Rust's
    std::io::Error formats it, is the only place of the number. Without it the message of another library
    version gives None, and the exception passes through unchanged.
    """
    match = re.search(r"\(os error (\d+)\)", str(error))
    return int(match[1]) if match else None


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that is renamed to `path` after the block, and removed if the block raises.

    An existing `path` is replaced, so a retried step has the same output as a first try.

    Raises:
        StorageError: the disk is full, or there is no permission to write.
    """
    final = Path(path)
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            draft.chmod(0o755)  # mkdtemp makes it private; the next step may run as another user
            yield draft
            if final.is_dir() and not final.is_symlink():
                shutil.rmtree(final)
            else:
                final.unlink(missing_ok=True)
            draft.rename(final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the name of a file to write. It is renamed to `path` after the block, and removed if it raises.

    Raises:
        StorageError: the disk is full, or there is no permission to write.
    """
    final = Path(path)
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = final.with_name(f".{final.name}.{os.getpid()}.draft")
        try:
            yield draft
            draft.replace(final)
        finally:
            draft.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file.

    Raises:
        StorageError: the disk is full, or there is no permission to write.
    """
    with atomic_file(path) as draft:
        draft.write_bytes(content)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON.

    Raises:
        ValueError: it holds NaN or infinity.
        StorageError: the disk is full, or there is no permission to write.
    """
    text = json.dumps(value, indent=1, allow_nan=False, sort_keys=False) + "\n"
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing, truncated or not JSON.
    """
    file = Path(path)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "no such file", field=str(file), remedy="Run the step that writes it first"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        remedy = "It is truncated or was edited; run the step that writes it again"
        raise DataError(f"not valid JSON ({error})", field=str(file), remedy=remedy) from error


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 as hex digits, without reading the whole file into memory."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
