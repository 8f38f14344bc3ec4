"""Verify a bundle without trusting any of its contents.

Cheap checks come first, and each protects the next one: names and sizes before any file is read, checksums
before any file is parsed, the structure of a model before it runs. The first failed check stops the rest.
Models are parsed and run in a child process with limits on time and memory (`netslim.bundle.sandbox`).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netslim.bundle.layout import MLFLOW_FILES, NOT_LISTED, file_size, read_checksums
from netslim.bundle.sandbox import check_in_sandbox
from netslim.bundle.signature import check_signature
from netslim.errors import BundleError, NetslimError, printable
from netslim.storage.atomic import sha256

__all__ = ["CheckResult", "require_good", "verify"]

DETAIL = 300  # characters
REQUIRED_PACKAGES = ("onnx", "onnxruntime", "safetensors")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Args:
        name: "names", "checksums", "signature", "models", "contents" or "samples".
        passed: None when the check was skipped because an earlier one failed.
        detail: a short text: what was checked, or why the check failed.
    """

    name: str
    passed: bool | None
    detail: str


def verify(folder: str | os.PathLike[str], *, key: Path | None = None) -> list[CheckResult]:
    """Run all checks on the bundle in `folder`. The bundle is good when every check passed.

    A damaged or hostile bundle gives a failed check, never an exception.

    Args:
        key: the public key of the person who signed the bundle; None skips the check of the signature.

    Raises:
        ConfigError: the key cannot be used.
        NetslimError: a package that the checks need is not installed.
    """
    path = Path(folder)
    if missing := [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]:
        problem = f"needs {', '.join(missing)}"
        raise NetslimError(problem, field="verify", remedy="pip install 'netslim[verify]'")
    checks: dict[str, Callable[[Path], str]] = {"names": _check_names, "checksums": _check_checksums}
    if key is not None:
        checks["signature"] = partial(check_signature, key=key)
    for name in ("models", "contents", "samples"):
        checks[name] = partial(check_in_sandbox, check=name)
    return list(_run_checks(path, checks))


def require_good(results: Iterable[CheckResult], folder: str | os.PathLike[str], remedy: str = "") -> None:
    """Raise the first check of `results` that did not pass.

    Raises:
        BundleError: with the check's name and detail.
    """
    for result in results:
        if not result.passed:
            problem = f"{result.name}: {result.detail.rstrip('.')}"
            raise BundleError(problem, field=str(folder), remedy=remedy)


def _run_checks(folder: Path, checks: dict[str, Callable[[Path], str]]) -> Iterator[CheckResult]:
    failed = False
    for name, check in checks.items():
        if failed:
            yield CheckResult(name, None, "skipped: an earlier check failed")
            continue
        try:
            yield CheckResult(name, True, _short(check(folder)))
        except BundleError as error:
            failed = True
            yield CheckResult(name, False, _short(str(error)))
        except OSError as error:
            failed = True
            yield CheckResult(name, False, f"cannot be read ({error.strerror or type(error).__name__})")


def _short(detail: str) -> str:
    """A detail contains parts of the bundle: show one line of limited length without control characters."""
    shown = printable(detail)
    return shown if len(shown) <= DETAIL else f"{shown[:DETAIL]} ..."


def _check_names(folder: Path) -> str:
    """Only files of a bundle are listed, all are regular files within their limits, and no others exist."""
    checksums = read_checksums(folder)
    total = sum(file_size(folder, name) for name in checksums)
    for entry in os.scandir(folder):
        if entry.name in MLFLOW_FILES and not entry.is_symlink() and entry.is_file():
            continue
        if entry.name in NOT_LISTED:
            file_size(folder, entry.name)
        elif entry.name not in checksums:
            problem = f"{entry.name[:80]!r} is in the folder, but not in SHA256SUMS"
            raise BundleError(problem, field="extra file")
    return f"{len(checksums)} files, {total:,} bytes"


def _check_checksums(folder: Path) -> str:
    checksums = read_checksums(folder)
    for name, expected in checksums.items():
        if sha256(folder / name) != expected:
            raise BundleError("has another SHA-256: it was changed or truncated", field=name)
    return f"SHA-256 of {len(checksums)} files"
