"""SIGTERM, the signal before Kubernetes kills a container: noted when it comes, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_on_sigterm"]


class Stop:
    """Whether SIGTERM has come. `obey` then does what the signal would have done at once."""

    def __init__(self) -> None:
        self.requested = False
        self.before: object = signal.SIG_DFL

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: remember the signal."""
        self.requested = True

    def obey(self) -> None:
        """End the process: call the handler that was there before, then exit with code 143.

        SystemExit, unlike the signal itself, lets `finally` blocks remove half-written artifacts.
        """
        if callable(self.before):
            self.before(signal.SIGTERM, None)
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def stop_on_sigterm() -> Iterator[Stop]:
    """Note SIGTERM instead of ending, for a block. If the block did not call `obey`, its end does.

    Nothing changes outside the main thread, where Python cannot handle signals, or if SIGTERM is ignored.
    """
    stop = Stop()
    outside = threading.current_thread() is not threading.main_thread()
    if outside or signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        yield stop
        return
    stop.before = signal.signal(signal.SIGTERM, stop.note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, stop.before)
    if stop.requested:
        stop.obey()
