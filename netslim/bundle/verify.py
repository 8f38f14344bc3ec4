"""Is a bundle whole, and is it what it says it is? Nothing in it is believed.

The cheap questions come first, each guards the next: names and sizes before anything is read, checksums
before anything is parsed, the graph's structure before anything is run. What runs foreign weights does so in
a process of its own with limits on time and memory (`netslim.bundle.sandbox`), because a parser of C++ may do
worse than raise.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netslim.bundle.layout import FOREIGN, INT8, LIMITS, MODEL, PREPROC, UNLISTED, listed, regular
from netslim.bundle.signature import check_signature
from netslim.errors import BundleError, NetslimError
from netslim.storage.atomic import sha256

__all__ = ["CheckResult", "require_good", "verify"]

SECONDS = 300
NEEDED = ("onnx", "onnxruntime", "safetensors")


@dataclass(frozen=True)
class CheckResult:
    """One question, and its answer in a few words. `good` is None when it could not be asked any more."""

    what: str
    good: bool | None
    told: str


def verify(folder: str | os.PathLike[str], *, key: Path | None = None) -> list[CheckResult]:
    """Ask everything; the bundle is good when every finding is. Never raises for what a bundle holds.

    Args:
        key: the public key of who must have signed it; None asks nothing about a signature.

    Raises:
        ConfigError: the key cannot be used.
        NetslimError: a package is missing without which nothing can be told.
    """
    place = Path(folder)
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise NetslimError(f"needs {', '.join(absent)}: pip install 'netslim[export]'", field="verify")
    questions: list[tuple[str, Callable[[Path], str]]] = [
        ("names", _names),
        ("checksums", _checksums),
        *([("signature", lambda place: check_signature(place, key))] if key else []),
        ("models", lambda place: _apart(place, "graphs")),
        ("contents", lambda place: _apart(place, "contents")),
        ("samples", lambda place: _apart(place, "samples")),
    ]
    return list(_answers(place, questions))


def require_good(findings: Iterable[CheckResult], folder: str | os.PathLike[str], remedy: str = "") -> None:
    """Raise for the first answer of `verify` about `folder` that was not yes.

    Raises:
        BundleError: with the question and its answer.
    """
    for found in findings:
        if not found.good:
            raise BundleError(f"{found.what}: {found.told.rstrip('.')}", field=str(folder), remedy=remedy)


def _answers(place: Path, questions: list[tuple[str, Callable[[Path], str]]]) -> Iterator[CheckResult]:
    stopped = False
    for what, ask in questions:
        if stopped:
            yield CheckResult(what, None, "not asked: an earlier answer was no")
            continue
        try:
            yield CheckResult(what, True, ask(place))
        except BundleError as error:
            stopped = True
            yield CheckResult(what, False, str(error))
        except OSError as error:
            stopped = True
            yield CheckResult(what, False, f"cannot be read ({error.strerror or type(error).__name__})")


def _names(place: Path) -> str:
    """Only files of a bundle are listed, all are plain files of allowed sizes, and nothing else is here."""
    sums = listed(place)
    total = sum(regular(place, name) for name in sums)
    for entry in os.scandir(place):
        if entry.name in FOREIGN and not entry.is_symlink() and entry.is_file():
            continue
        if entry.name in UNLISTED:
            regular(place, entry.name)
        elif entry.name not in sums:
            raise BundleError(f"{entry.name[:80]!r} is here, but not in SHA256SUMS", field="extra file")
    return f"{len(sums)} files, {total:,} bytes"


def _checksums(place: Path) -> str:
    sums = listed(place)
    for name, wanted in sums.items():
        if sha256(place / name) != wanted:
            raise BundleError("its SHA-256 is another; it was altered or cut short", field=name)
    return f"SHA-256 of {len(sums)} files"


def _apart(place: Path, question: str) -> str:
    """Ask `netslim.bundle.sandbox` in a process of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "netslim.bundle.sandbox", question, str(place.absolute())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=SECONDS, check=False, cwd=scratch, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise BundleError(f"took more than {SECONDS} s", field=question) from error
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    try:
        answer: Any = json.loads(lines[-1])
        good, told = answer["good"], str(answer["told"])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise BundleError(f"the process that looked at it died ({how})", field=question) from error
    if good is not True or done.returncode != 0:
        raise BundleError(told.rstrip("."))
    return told


def models_of(place: Path) -> list[str]:
    """The ONNX files that the bundle lists."""
    return [name for name in LIMITS if name in (MODEL, PREPROC, INT8) and name in listed(place)]
