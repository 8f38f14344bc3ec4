"""The temporary files of a local run: in one folder, which is removed at the end, or by the next run.

A process that is killed cannot remove its temporary files. So TMPDIR of all processes of a run is one folder.
The run's own process holds a lock in it; a folder whose lock is free is of a run that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from netslim.storage.atomic import storage_errors

__all__ = ["EVENTS", "events_file", "scratch_folder"]

EVENTS = "events.jsonl"
PREFIX, NEW = "netslim-run-", "netslim-new-"
LOCK = "lock"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder for temporary files, for the length of a `with` block.

    It is in the system's folder for such files and not in the run's output: sockets have short paths.

    Raises:
        StorageError: the disk is full, or there is no permission to write.
    """
    temporary = Path(tempfile.gettempdir())
    _remove_abandoned(temporary)
    with storage_errors(temporary):
        new = Path(tempfile.mkdtemp(prefix=NEW))
    with _locked(new / LOCK):
        folder = new.with_name(new.name.replace(NEW, PREFIX))  # found by other runs from now on
        new.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def events_file(folder: Path, killed: Callable[[str], object] = len) -> Iterator[Path]:
    """The file to which the steps of a run append their events, for the length of a `with` block.

    Such files of killed runs in sibling folders of `folder` are removed.

    Args:
        killed: called with the name of each of those folders, which is the key of the run.
    """
    for file in folder.parent.glob(f"*/{EVENTS}"):
        if _abandoned(file):
            killed(file.parent.name)
            file.unlink(missing_ok=True)
    events, new = folder / EVENTS, folder / f".{EVENTS}"
    with _locked(new):
        new.rename(events)
        try:
            yield events
        finally:
            events.unlink(missing_ok=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Make `file`, and hold its lock for the length of a `with` block."""
    with ExitStack() as stack:
        with storage_errors(file):
            stream = stack.enter_context(open(file, "wb"))
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_abandoned(temporary: Path) -> None:
    for entry in os.scandir(temporary):
        if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
            continue
        mine = entry.stat(follow_symlinks=False).st_uid == os.getuid()
        if mine and _abandoned(Path(entry.path, LOCK)):
            shutil.rmtree(entry.path, ignore_errors=True)


def _abandoned(lock: Path) -> bool:
    """Whether no process holds the lock on a file, which exists."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open(lock, "rb"))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process holds it, or has removed the file just now
            return False
        return True
