"""Progress of long work: a bar on the terminal, lines in a log, or events for another program to draw.

A step of the pipeline runs in a process of its own, often in a container, so it cannot draw on the user's
terminal. It appends events to the file that `NETSLIM_PROGRESS` names, and the program that started the
pipeline draws one set of bars. Without that variable a bar is drawn here if stderr is a terminal; otherwise,
as in a pod's log, a line is printed every 30 seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

__all__ = ["ENVIRONMENT", "Bar", "bar", "emit_event", "metrics_text", "reported_errors"]

ENVIRONMENT = "NETSLIM_PROGRESS"
LINE_EVERY = 30.0  # seconds between two lines of a log


class Bar(Protocol):
    def advance(self, amount: int = 1, **metrics: float | str) -> None:
        """Move on by `amount`; `metrics` (loss, train error, ...) are shown beside the bar."""


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A progress bar for `total` units of work, for the length of a `with` block."""
    if os.environ.get(ENVIRONMENT):
        events = _Events(title, total)
        try:
            yield events
        finally:
            events.write("end")
    elif sys.stderr.isatty():
        terminal = _Terminal(title, total)
        try:
            yield terminal
        finally:
            terminal.progress.stop()
    else:
        yield _Lines(title, total)


def emit_event(event: str, **values: object) -> None:
    """Append one event, a JSON object on a line, to the file of events; do nothing if there is none.

    Each line is a single append, so that the lines of concurrent steps do not mix.
    """
    path = os.environ.get(ENVIRONMENT)
    if path:
        try:
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"event": event, **values}) + "\n")
        except OSError:
            return  # a lost progress line must never stop the work


def reported_errors() -> list[tuple[str, str]]:
    """The errors in the file of events, the first one first: what the step did, and its message.

    Empty without such a file, as on a cluster.
    """
    from netslim.errors import NetslimError  # only where a run has ended

    path, step, errors = os.environ.get(ENVIRONMENT), "", list[tuple[str, str]]()
    if not path or not Path(path).exists():
        return errors
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:  # a process was killed, or the disk full, in mid-line
            continue
        if event["event"] == "failed":
            step = str(event["step"])
        elif event["event"] == "error":
            errors.append((step, str(NetslimError.from_json(event))))
            step = ""
    return errors


def metrics_text(metrics: Mapping[str, float | str]) -> str:
    """Metrics as one line: `loss 0.1235  train error 2.5`."""
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items())


class _Events:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.id = f"{os.getpid()}-{time.monotonic_ns()}"
        self.write("start")

    def write(self, event: str, **metrics: float | str) -> None:
        emit_event(event, id=self.id, title=self.title, done=self.done, total=self.total, metrics=metrics)

    def advance(self, amount: int = 1, **metrics: float | str) -> None:
        self.done += amount
        self.write("advance", **metrics)


class _Terminal:
    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.title, self.task = title, self.progress.add_task(title, total=total)
        self.progress.start()

    def advance(self, amount: int = 1, **metrics: float | str) -> None:
        self.progress.update(self.task, advance=amount, description=f"{self.title}  {metrics_text(metrics)}")


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.printed_at = time.monotonic()

    def advance(self, amount: int = 1, **metrics: float | str) -> None:
        self.done += amount
        if time.monotonic() - self.printed_at >= LINE_EVERY:
            self.printed_at = time.monotonic()
            line = f"{self.title}  {self.done} of {self.total}  {metrics_text(metrics)}"
            print(line.rstrip(), file=sys.stderr, flush=True)
