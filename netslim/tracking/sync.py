"""Log what could not be logged during a run: passes in a journal, or in the object store of a pipeline.

A results file and the bundle beside it are all that is needed: the file contains the passes so far, and the
experiment, the key and the name of the run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from netslim.errors import DataError
from netslim.results.run_results import RunResults
from netslim.storage import s3
from netslim.storage.atomic import read_json
from netslim.tracking.api import deliver
from netslim.tracking.client import connect
from netslim.tracking.destination import Destination, without_password
from netslim.tracking.journal import BUNDLE, ENDING, KEPT, RESULTS, read_ending
from netslim.tracking.runs import RunGroup
from netslim.tracking.write import close

__all__ = ["Synced", "pending", "sync"]

KFP_RESULTS = "results"  # the output of the component `evaluate`, beside its output `bundle`


@dataclass(frozen=True)
class Synced:
    """A run that was logged: its key, and the titles of the passes."""

    key: str
    server: str
    passes: tuple[str, ...]


@dataclass(frozen=True)
class _Pass:
    """One pass to log. `kept` is its folder in a journal, to be removed afterwards; None for an artifact."""

    results: RunResults
    bundle: Path | None
    server: str
    kept: Path | None


def sync(
    where: str | os.PathLike[str],
    *,
    uri: str = "",
    only_for: str = "",
    on_run: Callable[[str], None] = lambda key: None,
) -> list[Synced]:
    """Log the passes below `where`, and remove from a journal what was logged. It is safe to repeat.

    Args:
        where: a journal, or a folder with outputs of the step `evaluate`: local, or s3://bucket/folder.
        uri: the server. By default each run in a journal is logged to the server that it was meant for.
        only_for: log only runs that were meant for this server; its password does not matter.
        on_run: is called with the key of each run before it is logged.

    Raises:
        TrackingError: a server cannot be used. Runs that were logged before are removed from the journal.
        DataError: a file is truncated or altered, or its run or its server is not known.
        StorageError: the object store cannot be used.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = _fetched(str(where), Path(scratch)) if s3.is_s3(where) else Path(where)
        runs: dict[tuple[str, str], list[_Pass]] = defaultdict(list)
        for each in _passes(folder):
            runs[each.server, each.results.origin["key"]].append(each)
        for ending in folder.glob(f"*/{ENDING}"):
            data = read_json(ending)
            runs.setdefault((str(data["server"]), str(data["key"])), [])
        done = []
        for (server, key), passes in sorted(runs.items()):
            if only_for and server != without_password(only_for):
                continue
            if not (address := uri or only_for or server):
                raise DataError(
                    "no tracking server is known for it", field="run", value=key, remedy="Give --tracking-uri"
                )
            on_run(key)
            _log_run(folder / key, address, key, passes)
            titles = tuple(each.results.rows[-1].title for each in passes)
            done.append(Synced(key, without_password(address), titles))
        return done


def _log_run(folder: Path, uri: str, key: str, passes: list[_Pass]) -> None:
    """Log the passes of one run, then its end, and remove what was kept of it."""
    ending = read_ending(folder)
    experiment = (
        passes[0].results.origin["experiment"] if passes else ending[1]["experiment"] if ending else ""
    )
    destination = Destination(uri, experiment, key)
    passes = sorted(passes, key=lambda each: (len(each.results.rows), each.results.rows[-1].measured_at))
    with connect(uri) as client:
        ended = False
        for each in passes:
            ended = deliver(RunGroup.open(client, destination), each.results, each.bundle).ended
        if ending and not ended:
            results = passes[-1].results if passes else None
            close(RunGroup.open(client, destination), ending[0], {}, results)
    for each in passes:
        if each.kept:
            shutil.rmtree(each.kept)
    if ending:
        (folder / ENDING).unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _passes(folder: Path) -> list[_Pass]:
    """Every results file below `folder` that is named as in a journal or as KFP names the artifact."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.name not in (RESULTS, KFP_RESULTS) or not file.is_file():
            continue
        results = RunResults.load(file)
        if not {"experiment", "key"} <= results.origin.keys() or not results.rows:
            remedy = "Only the results of a run that was to be recorded can be logged later"
            raise DataError("does not name its run", field=str(file), remedy=remedy)
        note = file.with_name(KEPT)
        server = str(read_json(note)["server"]) if note.is_file() else ""
        bundle = file.with_name(BUNDLE)
        found.append(
            _Pass(
                results, bundle if bundle.is_dir() else None, server, file.parent if note.is_file() else None
            )
        )
    return found


def _fetched(url: str, scratch: Path) -> Path:
    """The results files and bundles below `url`, downloaded into `scratch`."""
    parents = {
        PurePosixPath(name).parent for name in s3.names(url) if PurePosixPath(name).name == KFP_RESULTS
    }

    def wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return any(path == parent / KFP_RESULTS or parent / BUNDLE in path.parents for parent in parents)

    s3.download_tree(url, scratch, only=wanted)
    return scratch


def pending(journal: str | os.PathLike[str]) -> int:
    """The number of runs in a journal that wait to be logged."""
    folder = Path(journal)
    return sum(1 for run in folder.iterdir() if run.is_dir() and any(run.iterdir())) if folder.is_dir() else 0
