"""The border between a step and whatever runs it: a user's mistake becomes one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from netslim import progress
from netslim.errors import NetslimError

__all__ = ["as_step"]

P = ParamSpec("P")
R = TypeVar("R")


def as_step(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, run as a container's whole work.

    A NetslimError ends the process with its documented exit code and without a traceback: its message is
    the whole story. It also goes to whoever draws the progress, who may see nothing else of this process.
    """

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NetslimError as error:
            progress.tell("error", kind=type(error).__name__, message=str(error))
            print(f"netslim: {error}", file=sys.stderr, flush=True)
            raise SystemExit(error.exit_code) from None
        except Exception as error:
            progress.tell("error", kind="bug", message=f"{type(error).__name__}: {error}")
            raise

    return run
