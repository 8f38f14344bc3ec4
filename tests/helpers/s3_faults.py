"""What tests of s3:// share: the type of a simulated fault, and the contents of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Fault = Callable[[str, str, int], str]
"""Method, path and how often the same was requested before -> "", "503", "truncate", "hang up" or "stall"."""

Answering = Callable[[int, bytes, str], None]
"""Starts a server that answers every request by this status, content and type of content."""


def contents(root: Path) -> dict[str, bytes]:
    """The content of each file below `root`, by its path."""
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}
