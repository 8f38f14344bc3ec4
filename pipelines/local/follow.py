"""Run the worker process of a local run to its end: log what it prints, draw it, and stop it when asked."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

from netslim.child_process import ENVIRONMENT, GRACE, handled_sigterm
from netslim.errors import first_line
from netslim_kfp.pipelines.local.console import RunView
from netslim_kfp.pipelines.local.worker import SLACK

__all__ = ["follow"]

REDRAW = 0.1  # seconds


def follow(command: list[str], environment: Mapping[str, str], log: Path, view: RunView) -> int:
    """Run `command`, copy its output to `log`, and draw it. Returns its exit code.

    Ctrl-C, SIGTERM, and any failure to draw stop the process, which first ends its steps; then the exception
    is raised. A second Ctrl-C kills it. If this process is killed, the other one ends by itself.

    A log that cannot be written is given up with a warning, because the results are elsewhere.

    Raises:
        SystemExit: SIGTERM came, or nothing reads standard output any more.
    """
    with (
        handled_sigterm(_exit),
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, "PYTHONUNBUFFERED": "1", ENVIRONMENT: "1"},
            start_new_session=True,  # Ctrl-C comes here alone
        ) as worker,
    ):
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        problems: list[str] = []
        reader = threading.Thread(target=_copy, args=(worker, log, lines, problems), daemon=True)
        reader.start()
        try:
            _draw(lines, view)
            code = worker.wait()
        except BaseException:
            _stop(worker)
            raise
        finally:
            reader.join(SLACK)
    for problem in problems:
        view.warn(f"{log} is incomplete: {problem}")
    return code


def _copy(
    worker: subprocess.Popen[bytes], log: Path, lines: queue.SimpleQueue[str | None], problems: list[str]
) -> None:
    """Read all that the worker prints, whatever fails here: it would wait for ever for a full pipe."""
    assert worker.stdout is not None
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open(log, "wb", buffering=0))
        except OSError as error:
            problems.append(first_line(error.strerror or error))
        for line in worker.stdout:
            if not problems:
                try:
                    stream.write(line)
                except OSError as error:
                    problems.append(first_line(error.strerror or error))
            lines.put(line.decode(errors="replace"))
    lines.put(None)


def _draw(lines: queue.SimpleQueue[str | None], view: RunView) -> None:
    """Draw until the end of the worker's output."""
    polled_at = 0.0
    while True:
        with suppress(queue.Empty):
            line = lines.get(timeout=REDRAW)
            if line is None:
                return
            view.line(line)
        if time.monotonic() > polled_at + REDRAW:
            polled_at = time.monotonic()
            view.poll()


def _stop(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(GRACE + SLACK)
    except subprocess.TimeoutExpired:
        worker.kill()
    except BaseException:  # a second Ctrl-C: the steps end when the worker is gone
        worker.kill()
        raise


def _exit(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit at SIGTERM, as Ctrl-C raises KeyboardInterrupt."""
    print("netslim: stopped by SIGTERM", file=sys.stderr)
    raise SystemExit(128 + number)
