"""What a tracking server did not accept, in files, until it is logged.

The folder in NETSLIM_JOURNAL has a folder for each run, by its key, and in it one for each pass: its results
file, which contains all passes so far, and its bundle. `ending.json` beside them is the end of a run that did
not end by its results. `netslim run` sets the variable, because its output folder stays after its steps.

A pod's disk does not. There nothing is kept: the artifacts `results` and `bundle` of each `evaluate` are in
the object store of the pipeline, and `netslim sync` reads them from there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from netslim.errors import StorageError
from netslim.results.ending import Ending
from netslim.results.run_results import RunResults
from netslim.storage.atomic import atomic_directory, read_json, write_json
from netslim.tracking.destination import Destination, run_key, without_password
from netslim.tracking.write import child_name

__all__ = [
    "BUNDLE",
    "ENDING",
    "JOURNAL",
    "KEPT",
    "RESULTS",
    "journal_of",
    "keep_ending",
    "keep_pass",
    "kept_by_this_run",
    "kept_results",
    "read_ending",
]

JOURNAL = "NETSLIM_JOURNAL"
"""The environment variable with the folder; without it nothing is kept."""
FOLDER = "unlogged"  # below the output folder of `netslim run`
RESULTS, BUNDLE, ENDING, KEPT = "results.json", "bundle", "ending.json", "kept.json"
LATER = "It is kept in {} and logged by the next run or by `netslim sync`."
IN_THE_STORE = (
    "Its results and its bundle are outputs of this step: log them with `netslim sync` and the folder of the "
    "run in the object store."
)


def journal_of(output: str | os.PathLike[str]) -> Path:
    """The folder for a run with the output folder `output`, with an absolute path."""
    return Path(output).absolute() / FOLDER


def keep_pass(destination: Destination, results: RunResults, bundle: Path | None) -> str:
    """Keep the last pass of `results` and its bundle.

    Returns:
        A sentence with what the user can do.
    """
    if (folder := _folder(destination)) is None:
        return IN_THE_STORE
    try:
        with atomic_directory(folder / child_name(results.rows[-1])) as draft:
            results.save(draft / RESULTS)
            if bundle is not None:
                shutil.copytree(bundle, draft / BUNDLE, copy_function=_link)
            write_json(draft / KEPT, {"server": without_password(destination.uri)})
    except (OSError, StorageError) as error:
        return f"It cannot be kept for later, either: {error}"
    return LATER.format(folder)


def keep_ending(destination: Destination, ending: Ending) -> str:
    """Keep the end of a run, if a pass of it is kept or it has none.

    Returns:
        A sentence with what the user can do.
    """
    if (folder := _folder(destination)) is None:
        return "Its status stays as it is."
    document = {
        **ending.to_json(),
        "server": without_password(destination.uri),
        "experiment": destination.experiment,
        "key": destination.key,
    }
    try:
        write_json(folder / ENDING, document)
    except (OSError, StorageError) as error:
        return f"It cannot be kept for later, either: {error}"
    return LATER.format(folder)


def kept_results(journal: str | os.PathLike[str], key: str) -> tuple[RunResults, dict[str, Path]] | None:
    """The results of the run `key` in the journal, and the kept bundles by the names of their passes.

    None where no pass of the run is kept.
    """
    folders = sorted(folder for folder in Path(journal, key).glob("*") if (folder / RESULTS).is_file())
    if not folders:
        return None
    each = [RunResults.load(folder / RESULTS) for folder in folders]
    latest = max(each, key=lambda results: (len(results.rows), results.rows[-1].measured_at))
    bundles = {folder.name: folder / BUNDLE for folder in folders if (folder / BUNDLE).is_dir()}
    if any(row.label for row in latest.rows):  # each point of a sweep has a results file of its own
        rows = sorted((results.rows[-1] for results in each), key=lambda row: row.measured_at)
        latest = RunResults(tuple(rows), latest.constants, latest.origin)
    return latest, bundles


def kept_by_this_run() -> RunResults | None:
    """The kept results of the run in the environment variables; None where nothing is kept."""
    journal, key = os.environ.get(JOURNAL), run_key()
    kept = kept_results(journal, key) if journal and key else None
    return kept[0] if kept else None


def read_ending(folder: Path) -> tuple[Ending, dict[str, str]] | None:
    """The kept end of a run, with its experiment, key and server; None where there is none."""
    if not (folder / ENDING).is_file():
        return None
    data = read_json(folder / ENDING)
    return Ending.from_json(data), {name: str(data[name]) for name in ("experiment", "key", "server")}


def _folder(destination: Destination) -> Path | None:
    journal = os.environ.get(JOURNAL)
    return Path(journal, destination.key) if journal else None


def _link(source: str, target: str) -> str:
    """Link a file where the file system allows it, because a bundle can be large; else copy it.

    Files of artifacts are never changed in place.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
