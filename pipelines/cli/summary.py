"""The end of a run on screen: the table of its passes, the paths of its results, and how to open MLflow."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from netslim import report, tracking
from netslim.errors import NetslimError, TrackingError
from netslim.results.best_model import best_model
from netslim.results.run_results import RunResults
from netslim_kfp.pipelines.local.run import Outcome
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["log_pending", "summary"]


@dataclass(frozen=True)
class Found:
    """The results of a run, the files of its user by name, and where MLflow shows it (empty in an outage)."""

    results: RunResults
    files: dict[str, Path]
    view: str = ""
    registered: str = ""


def summary(outcome: Outcome, config: RunConfig, tracking_uri: str, console: Console) -> None:
    """Print the table, move the bundles and the report into the run's folder, and print their paths.

    Raises:
        TrackingError: MLflow did not accept all results, and the run is to fail then (--strict-tracking).
    """
    found = _kept(outcome, config)
    if found is None:
        try:
            found = _recorded(outcome, config, tracking_uri)
        except TrackingError as error:
            if config.strict_tracking:
                raise
            warning = (
                f"The run is in MLflow, but not readable: {error} Try `netslim show {outcome.key}` later."
            )
            console.print(warning, style="yellow", highlight=False, soft_wrap=True)
            return
    console.print()
    console.print(report.table(found.results, width=console.width))
    if best := best_model(found.results):
        console.print(best.sentence, highlight=False)
    for warning in config.warnings:
        console.print(warning, style="yellow", highlight=False)
    if outcome.cached:
        console.print(f"{len(outcome.cached)} steps were unchanged and came from the cache.", highlight=False)
    for name, path in found.files.items():
        console.print(f"{name:<12} {shorter(path)}", highlight=False, soft_wrap=True)
    if found.registered:
        console.print(f"{'registered':<12} {found.registered}", highlight=False, soft_wrap=True)
    if found.view:
        console.print(f"{'MLflow':<12} {found.view}", highlight=False, soft_wrap=True)
        return
    problem = "MLflow did not accept all results of this run"
    kept = shorter(tracking.journal_of(config.output))
    remedy = f"They are kept in {kept}, and logged by the next run or by `netslim sync`"
    if config.strict_tracking:
        raise TrackingError(problem, remedy=remedy)
    console.print(f"{problem}. {remedy}.", style="yellow", highlight=False, soft_wrap=True)


def log_pending(config: RunConfig, tracking_uri: str, console: Console) -> None:
    """Log what earlier runs could not log to this server.

    A failure is printed, and nothing is lost: neither an outage nor a damaged file there stops this run.
    """
    journal = tracking.journal_of(config.output)
    if not tracking.pending(journal):
        return
    try:
        for run in tracking.sync(journal, only_for=tracking_uri):
            console.print(f"Logged the run {run.key}, which MLflow had not accepted.", highlight=False)
    except NetslimError as error:
        console.print(f"Earlier runs are not logged yet: {error}", style="yellow", highlight=False)


def _kept(outcome: Outcome, config: RunConfig) -> Found | None:
    """The results in the journal, where MLflow did not accept a pass; None where it accepted all."""
    kept = tracking.kept_results(tracking.journal_of(config.output), outcome.key)
    if kept is None:
        return None
    results, bundles = kept
    files = {}
    for name, bundle in bundles.items():
        target = outcome.folder / name
        shutil.copytree(bundle, target, dirs_exist_ok=True)
        files[name] = target / "model.onnx"
    page = outcome.folder / "report.html"
    page.write_text(report.html(results), encoding="utf-8")
    return Found(results, {**files, "report": page})


def _recorded(outcome: Outcome, config: RunConfig, tracking_uri: str) -> Found:
    found = tracking.read_run(tracking_uri, config.experiment, outcome.key)
    files = collect(tracking_uri, config.experiment, outcome)
    return Found(found.results, files, found.view, found.registered)


def collect(tracking_uri: str, experiment: str, outcome: Outcome) -> dict[str, Path]:
    """Download the results into the run's folder: a bundle `pass-NN/` of each pass, and `report.html`.

    Returns:
        The file to open for each result, by the result's name.
    """
    downloaded = tracking.download(tracking_uri, experiment, outcome.key, outcome.folder / "download")
    results: dict[str, Path] = {}
    for name, file in sorted(downloaded.items()):
        path = outcome.folder / (name if file.is_dir() else f"{name}{file.suffix}")
        shutil.move(file, path)
        results[name] = path / "model.onnx" if path.is_dir() else path
    shutil.rmtree(outcome.folder / "download", ignore_errors=True)
    return results


def shorter(path: Path) -> str:
    """`path` relative to the working folder, when it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
