"""Step finish: write the report and end the run in MLflow, whatever happened before."""

from __future__ import annotations

import os

from netslim import progress, report, tracking
from netslim.storage.atomic import atomic_file

__all__ = ["finish_step"]


def finish_step(report_path: str | os.PathLike[str], *, failed: bool, experiment: str) -> None:
    """Draw what MLflow holds of this run, close it as FINISHED or FAILED, and register its best model.

    A run is FINISHED when no step failed and its last evaluation decided to stop. Any other run is FAILED,
    and none of its models is registered. The decision is needed because KFP does not set the state FAILED
    when a run passed its time limit, was canceled, or lost a step that was killed.

    KFP hands no artifacts to the step that ends a pipeline, so MLflow is where the passes come together.
    Without a tracking server the report is empty and says so.

    Args:
        failed: whether KFP's state of the steps before this one is FAILED.

    Raises:
        TrackingError: the server cannot be reached; running the pipeline again brings everything to it.
    """
    with progress.bar("report", 2) as bar:
        ledger = tracking.recorded_results(experiment=experiment)
        page = report.html(ledger)
        with atomic_file(report_path) as draft:
            draft.write_text(page, encoding="utf-8")
        bar.advance(passes=len(ledger.rows))
        files = {"report.html": page.encode(), **report.plots(ledger)}
        finished = ledger.ended and not failed
        tracking.close_run(experiment=experiment, failed=not finished, files=files)
        bar.advance()
    if finished and (registered := tracking.register_run(ledger, experiment=experiment)):
        print(f"registered as {registered}", flush=True)
