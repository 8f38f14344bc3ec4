"""For tests that start other processes: a free port, a clean environment, and waiting for a condition."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

__all__ = ["environment_without", "free_port", "wait_until"]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no process listens on. Another process may take it before the caller."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_without(*prefixes: str) -> dict[str, str]:
    """The environment variables of this process, but for those whose names have one of `prefixes`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait until `condition()` is true.

    Raises:
        AssertionError: it was not after `seconds`; `what` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.05)
