"""What every result must say of where it came from, and how a table of results is written."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["facts", "markdown"]


def facts(*packages: str, threads: str = "1 thread") -> dict[str, str]:
    """The machine in words, versions, the date and the command."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if "model name" in line), platform.machine())
    return {
        "machine": f"{cpu}, {len(os.sched_getaffinity(0))} cores, {threads} used",
        "versions": ", ".join(
            [
                f"Python {platform.python_version()}",
                *(f"{p} {version(p)}" for p in ("netslim", "torch", *packages)),
            ]
        ),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": " ".join(["python", *map(_shown, sys.argv)]),
    }


def _shown(argument: str) -> str:
    """An argument as another may type it: where this machine keeps something tells nothing."""
    return "<folder>" if Path(argument).is_absolute() else shlex.quote(argument)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
