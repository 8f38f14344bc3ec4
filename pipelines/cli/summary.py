"""What a user sees when a run is over: the table over passes, where everything is, and the next command."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from netslim import report, tracking
from netslim_kfp.pipelines.local.run import Outcome
from netslim_kfp.pipelines.run_config import RunConfig

__all__ = ["summary"]


def summary(outcome: Outcome, config: RunConfig, tracking_uri: str, console: Console) -> None:
    """Print the table, copy the bundles and the report beside the log, and say how to open MLflow."""
    found = tracking.read_run(tracking_uri, config.experiment, outcome.key)
    console.print()
    console.print(report.table(found.ledger, width=console.width))
    results = collect(tracking_uri, config.experiment, outcome, console)
    if outcome.cached:
        console.print(f"{len(outcome.cached)} steps were unchanged and came from the cache.", highlight=False)
    for name, path in results.items():
        console.print(f"{name:<12} {shorter(path)}", highlight=False, soft_wrap=True)
    console.print(f"{'MLflow':<12} {found.view}", highlight=False, soft_wrap=True)


def collect(tracking_uri: str, experiment: str, outcome: Outcome, console: Console) -> dict[str, Path]:
    """Bring what the run made to one folder: a bundle `pass-NN/` of each pass, and `report.html`."""
    downloaded = tracking.download(tracking_uri, experiment, outcome.key, outcome.folder / "download")
    results: dict[str, Path] = {}
    for name, file in sorted(downloaded.items()):
        place = outcome.folder / (name if file.is_dir() else f"{name}{file.suffix}")
        shutil.move(file, place)
        results[name] = place / "model.onnx" if place.is_dir() else place
    shutil.rmtree(outcome.folder / "download", ignore_errors=True)
    return results


def shorter(path: Path) -> str:
    """`path` as seen from here, when it lies below."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
