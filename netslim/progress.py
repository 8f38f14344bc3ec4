"""Progress of long work, told to whoever watches.

A step of the pipeline runs in a process of its own, often in a container, so it cannot draw on the user's
terminal. It appends events to the file that `NETSLIM_PROGRESS` names, and the program that started the
pipeline draws one set of bars. Without that variable a bar is drawn here, when stderr is a terminal; else, as
in a pod's log, a line from time to time says how far the work is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

__all__ = ["ENVIRONMENT", "Bar", "bar", "tell"]

ENVIRONMENT = "NETSLIM_PROGRESS"
EVERY = 30.0  # seconds between two lines of a log


class Bar(Protocol):
    def advance(self, amount: int = 1, **facts: float | str) -> None:
        """Move on by `amount`; `facts` (loss, error, ...) are shown beside the bar."""


def tell(event: str, **facts: object) -> None:
    """Append one event, as a JSON object on a line, for whoever watches; without a watcher do nothing.

    A single append a line, so that concurrent steps do not mix.
    """
    path = os.environ.get(ENVIRONMENT)
    if path:
        try:
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"event": event, **facts}) + "\n")
        except OSError:
            return  # a lost progress line must never stop the work


class _Events:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.id = f"{os.getpid()}-{time.monotonic_ns()}"
        self.write("start")

    def write(self, event: str, **facts: float | str) -> None:
        tell(event, id=self.id, title=self.title, done=self.done, total=self.total, facts=facts)

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        self.done += amount
        self.write("advance", **facts)


class _Terminal:
    def __init__(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.title, self.task = title, self.progress.add_task(title, total=total)
        self.progress.start()

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        self.progress.update(self.task, advance=amount, description=f"{self.title}  {_words(facts)}")


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.said = time.monotonic()

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        self.done += amount
        if time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            line = f"{self.title}  {self.done} of {self.total}  {_words(facts)}"
            print(line.rstrip(), file=sys.stderr, flush=True)


def _words(facts: Mapping[str, float | str]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())


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
