"""Where a training keeps its checkpoints: a folder, or a folder in a bucket, which outlives the machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from netslim.storage import s3
from netslim.storage.atomic import atomic_file

__all__ = ["CHECKPOINTS", "Bucket", "LocalBackend", "StorageBackend", "open_backend"]

CHECKPOINTS = "NETSLIM_CHECKPOINTS"
"""The environment variable with an s3:// folder for checkpoints; on a cluster a retry runs on a new disk."""


class StorageBackend(Protocol):
    """Files by name, each written whole or not at all."""

    def names(self) -> list[str]:
        """What is there; nothing where nothing was ever written."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file. Raises StorageError."""

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file on this machine, as it is, for the length of a `with`. Raises StorageError."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def address(self, name: str) -> str:
        """Its path or URL, for people."""


class LocalBackend:
    """A folder of this machine; made when it is first written to."""

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


class Bucket:
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
    """The place that a path or an s3:// address names."""
    return Bucket(str(root)) if s3.is_s3(root) else LocalBackend(root)
