"""Files that are either whole or not there: written beside their place, then renamed into it."""

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

__all__ = ["atomic_directory", "atomic_file", "read_json", "sha256", "write_json"]


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one sentence that says what to do."""
    try:
        yield
    except NetslimError:
        raise
    except Exception as error:
        code = _system_code(error)
        if code in (errno.ENOSPC, errno.EDQUOT):
            remedy = "Free some space or point the output elsewhere; nothing half-written was left"
            raise StorageError("the disk is full", field=str(path), remedy=remedy) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "Choose a folder you may write to"
            raise StorageError("no permission to write here", field=str(path), remedy=remedy) from error
        raise


def _system_code(error: Exception) -> int | None:
    """The operating system's number for what went wrong; safetensors has it in its words only."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends well, and vanishes when it does not.

    An existing `path` is replaced, so a retried step leaves what a first try would have left.
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
    """Yield the name of a file to write; it becomes `path` when the block ends well."""
    final = Path(path)
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        draft = final.with_name(f".{final.name}.{os.getpid()}.draft")
        try:
            yield draft
            draft.replace(final)
        finally:
            draft.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON that a person can read; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=1, allow_nan=False, sort_keys=False) + "\n"
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file of ours.

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
        remedy = "It is truncated or was edited; make it again"
        raise DataError(f"not valid JSON ({error})", field=str(file), remedy=remedy) from error


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 as hex digits, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
