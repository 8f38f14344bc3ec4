"""Processes that end with the process that started them, on Linux and macOS.

A parent gives its child a pipe as standard input and never writes to it. However the parent ends, the system
then closes its end of the pipe. So the end of standard input is the end of the parent, also where a shell is
between the two. The parent also closes the pipe to ask for the end.

prctl(PR_SET_PDEATHSIG) exists on Linux only, and reacts to the end of a shell in between, or of one thread of
the parent.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = [
    "ENVIRONMENT",
    "GRACE",
    "end_with_parent",
    "exit_quickly",
    "exit_text",
    "handled_sigterm",
    "kill_with_parent",
]

ENVIRONMENT = "NETSLIM_ENDS_WITH_STDIN"
"""Environment variable that a parent sets for a child whose standard input is such a pipe."""

GRACE = 30.0
"""Seconds between SIGTERM and SIGKILL, as in Kubernetes: a training writes its checkpoint in this time."""

STDIN = 0  # the file descriptor


def end_with_parent(grace: float = GRACE) -> None:
    """Watch standard input in a thread: at its end SIGTERM to this process, `grace` seconds later SIGKILL.

    Nothing is done unless the parent has set the variable ENVIRONMENT, which is removed.
    """
    if os.environ.pop(ENVIRONMENT, ""):
        _watch(grace, terminate=True)


def kill_with_parent(grace: float) -> None:
    """Watch standard input in a thread: `grace` seconds after its end SIGKILL to this process."""
    _watch(grace, terminate=False)


def _watch(grace: float, *, terminate: bool) -> None:
    main_thread = threading.main_thread().ident
    assert main_thread is not None  # it has started, because this runs

    def wait() -> None:
        while os.read(STDIN, 1):
            pass
        if terminate:
            # To the main thread, whose system call it interrupts; Python's handlers run in no other thread.
            signal.pthread_kill(main_thread, signal.SIGTERM)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


@contextmanager
def handled_sigterm(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `handler` at SIGTERM in a `with` block, and set the handler before it again afterwards.

    Nothing changes outside the main thread, where Python cannot handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_quickly() -> None:
    """Let this process end without a search for garbage among all objects of its libraries.

    With torch or MLflow that search takes 1 to 2 seconds of CPU time, and the end of a process frees all. But
    Triton, which torch may have loaded, would print 30 lines about objects that it misses.
    """
    atexit.register(lambda: None if "triton" in sys.modules else gc.freeze())


def exit_text(code: int) -> str:
    """How a process ended, for messages: "ended by SIGKILL (signal 9)", or "ended with exit code 1".

    Args:
        code: the exit code; of a process that a signal ended, the negative number of the signal, or as a
            shell or a container engine has it, 128 more than the number.
    """
    number = -code if code < 0 else code - 128
    try:
        return f"ended by {signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"ended with exit code {code}"
