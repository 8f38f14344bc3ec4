"""The end of a run on screen: the table of its passes, the paths of its results, and how to open MLflow."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from netslim import report, tracking
from netslim_kfp.pipelines.local.run import Outcome
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["summary"]


def summary(outcome: Outcome, config: RunConfig, tracking_uri: str, console: Console) -> None:
    """Print the table, move the bundles and the report into the run's folder, and print their paths."""
    found = tracking.read_run(tracking_uri, config.experiment, outcome.key)
    console.print()
    console.print(report.table(found.results, width=console.width))
    for warning in config.warnings:
        console.print(warning, style="yellow", highlight=False)
    results = collect(tracking_uri, config.experiment, outcome, console)
    if outcome.cached:
        console.print(f"{len(outcome.cached)} steps were unchanged and came from the cache.", highlight=False)
    for name, path in results.items():
        console.print(f"{name:<12} {shorter(path)}", highlight=False, soft_wrap=True)
    console.print(f"{'MLflow':<12} {found.view}", highlight=False, soft_wrap=True)


def collect(tracking_uri: str, experiment: str, outcome: Outcome, console: Console) -> dict[str, Path]:
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
