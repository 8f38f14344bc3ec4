"""Storage backends for checkpoints and bundles: a local folder, or a folder of an S3 bucket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from netslim.storage import s3
from netslim.storage.atomic import atomic_file

__all__ = ["CHECKPOINTS", "LocalBackend", "S3Backend", "StorageBackend", "open_backend"]

CHECKPOINTS = "NETSLIM_CHECKPOINTS"
"""Environment variable with a folder for the checkpoints of all trainings.

It is an s3:// folder on a cluster, where a retried step has a new disk."""


class StorageBackend(Protocol):
    """Files by name, each written completely or not at all."""

    def names(self) -> list[str]:
        """The names of all files; none before the first write."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it. Raises StorageError."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A local path of the file for the length of a `with` block; checksums are not compared.

        Raises StorageError.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""

    def address(self, name: str) -> str:
        """The path or URL of a file, for messages."""


class LocalBackend:
    """A local directory, created on first write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def names(self) -> list[str]:
        return [file.name for file in self.path.iterdir()] if self.path.is_dir() else []

    def write(self, name: str, content: bytes) -> None:
        with atomic_file(self.path / name) as draft:
            draft.write_bytes(content)

    def local(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self.path / name)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def address(self, name: str) -> str:
        return str(self.path / name)


class S3Backend:
    """A folder of an S3 bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def names(self) -> list[str]:
        return s3.names(self.url)

    def write(self, name: str, content: bytes) -> None:
        s3.put_bytes(self.address(name), content)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_bytes(s3.get_bytes(self.address(name), verify=False))
            yield file

    def remove(self, name: str) -> None:
        s3.delete(self.address(name))

    def address(self, name: str) -> str:
        return f"{self.url}/{name}"


def open_backend(root: str | os.PathLike[str]) -> StorageBackend:
    """The storage backend for a local path or an s3:// address."""
    return S3Backend(str(root)) if s3.is_s3(root) else LocalBackend(root)
