"""Where a result comes from (machine, versions, date, command), and how results are written as Markdown."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["bullets", "facts", "markdown"]


def facts(*packages: str, threads: str = "1 thread") -> dict[str, str]:
    """The machine in words, versions, the date and the command."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in info if "model name" in line), platform.machine())
    versions = [f"{name} {version(name)}" for name in ("netslim", "torch", *packages)]
    return {
        "machine": f"{cpu}, {len(os.sched_getaffinity(0))} cores, {threads} used",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": _command(),
    }


def _command() -> str:
    """The command of this process, as it can be typed on any machine from the root of the repository."""
    spec = sys.modules["__main__"].__spec__  # None for a script that was started by its path
    program = f"-m {spec.name.removesuffix('.__main__')}" if spec else _portable(sys.argv[0])
    return " ".join(["python", program, *map(_portable, sys.argv[1:])])


def _portable(argument: str) -> str:
    """An argument without the absolute paths of this machine."""
    return "<folder>" if Path(argument).is_absolute() else shlex.quote(argument)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column aligned left, all others right."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(facts: Mapping[str, str]) -> str:
    """A Markdown list of names and values."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())
