"""Pause Python's garbage collector while many objects are made that refer to each other in no circle."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_garbage_collection"]


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """A block in which the collector looks for no circles; other objects are freed as ever.

    A network of hundreds of modules is tens of thousands of objects. The collector would look at each of them
    several times while they are made, and find nothing: a twentieth of the time of pruning densenet121.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
