"""Run one check of `netslim verify` in a process of its own, with limits on memory and processor time.

A parser in C++ that reads a hostile file may crash or fill the memory. Here that ends the child process, and
the parent reports a failed check.

The child is `python -m netslim.bundle.sandbox CHECK FOLDER`. It prints one line of JSON:
{"passed": true, "detail": "..."}.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from netslim.errors import BundleError, first_line

__all__ = ["check_in_sandbox"]

SECONDS = 300
MEMORY, PROCESSOR_SECONDS = 12 << 30, 240  # bytes of address space; seconds


def check_in_sandbox(folder: Path, check: str) -> str:
    """Run `check` ("models", "contents" or "samples") on `folder`; returns the detail of a passed check.

    Raises:
        BundleError: the check failed, took too long, or its process died.
    """
    command = [sys.executable, "-m", "netslim.bundle.sandbox", check, str(folder.absolute())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            child = subprocess.run(
                command, capture_output=True, timeout=SECONDS, check=False, cwd=scratch, env=environment
            )
        except subprocess.TimeoutExpired as error:
            raise BundleError(f"took more than {SECONDS} s", field=check) from error
    lines = child.stdout.decode(errors="replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1])
        passed, detail = answer["passed"], str(answer["detail"])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        code = child.returncode
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise BundleError(f"the process that checked the files died ({reason})", field=check) from error
    if passed is not True or child.returncode != 0:
        raise BundleError(detail.rstrip("."))
    return detail


def main() -> None:
    check, folder = sys.argv[1:]
    _limit_resources()
    try:
        # Imported after the limits are set, which then hold for the packages that parse models as well.
        from netslim.bundle.content_checks import check_contents
        from netslim.bundle.model_checks import check_models, check_samples

        checks = {"models": check_models, "contents": check_contents, "samples": check_samples}
        passed, detail = True, checks[check](Path(folder))
    except BundleError as error:
        passed, detail = False, str(error)
    except BaseException as error:  # any other exception that a hostile file causes in a parser
        reason = f"{type(error).__name__}: {first_line(error)}"
        passed, detail = False, f"{check}: not in the format of a bundle ({reason})"
    print(json.dumps({"passed": passed, "detail": detail}), flush=True)


def _limit_resources() -> None:
    limits = (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, PROCESSOR_SECONDS),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, value in limits:
        with contextlib.suppress(ValueError, OSError):  # the system's own limit is lower
            resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main()
