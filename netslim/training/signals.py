"""SIGTERM, by which Kubernetes announces that it will kill a container, as a question asked between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stop", "stop_on_sigterm"]


class Stop:
    """Whether SIGTERM has come; what it would have done by itself is done by `obey`."""

    def __init__(self) -> None:
        self.requested = False
        self.before: object = signal.SIG_DFL

    def note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True

    def obey(self) -> None:
        """End the process as the signal meant to: the handler that was there before, else exit code 143.

        Unwinding with SystemExit rather than dying on the spot lets half-written artifacts be removed.
        """
        if callable(self.before):
            self.before(signal.SIGTERM, None)
        raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def stop_on_sigterm() -> Iterator[Stop]:
    """Collect SIGTERM for the length of a block; one that the block did not obey is obeyed at its end.

    Where signals cannot be collected (outside the main thread) or are ignored already, nothing is changed.
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
