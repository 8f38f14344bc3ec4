"""The border of a step's process: a user error becomes one line, one progress event and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from netslim import progress
from netslim.errors import NetslimError, PipelineError

__all__ = ["step_process"]


@contextmanager
def step_process() -> Iterator[None]:
    """Run a block as the whole work of a container.

    A NetslimError ends the process with its exit code and without a traceback. It is also written as a
    progress event, because the program that started the pipeline may read nothing else of this process. Any
    other exception is a bug: it is written as an event too, and keeps its traceback.
    """
    try:
        yield
    except NetslimError as error:
        progress.emit_event("error", **error.to_json())
        print(f"netslim: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        bug = PipelineError(f"{type(error).__name__}: {error}", remedy="This is a bug in netslim")
        progress.emit_event("error", **bug.to_json())
        raise
