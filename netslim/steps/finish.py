"""Step finish: write the report and close the run in MLflow, also when an earlier step failed."""

from __future__ import annotations

import os

from netslim import progress, report, tracking
from netslim.storage.atomic import atomic_file

__all__ = ["finish_step"]


def finish_step(report_path: str | os.PathLike[str], *, failed: bool, experiment: str) -> None:
    """Write the report of the run, close it in MLflow as FINISHED or FAILED, and register its best model.

    A run is FINISHED when no step failed and its last evaluation decided to stop. Any other run is FAILED,
    and none of its models is registered. The decision is needed because KFP does not set the state FAILED
    when a run passed its time limit, was canceled, or lost a step that was killed.

    KFP gives no artifacts to the step that ends a pipeline, so the passes are read from MLflow. Without a
    tracking server the report contains no pass, and states that.

    Args:
        failed: whether KFP's state of the steps before this one is FAILED.

    Raises:
        TrackingError: the server cannot be reached. Another run of the pipeline uploads all passes.
    """
    with progress.bar("report", 2) as bar:
        results = tracking.recorded_results(experiment=experiment)
        page = report.html(results)
        with atomic_file(report_path) as draft:
            draft.write_text(page, encoding="utf-8")
        bar.advance(passes=len(results.rows))
        files = {"report.html": page.encode(), **report.plots(results)}
        finished = results.ended and not failed
        tracking.close_run(experiment=experiment, failed=not finished, files=files)
        bar.advance()
    if finished and (registered := tracking.register_run(results, experiment=experiment)):
        print(f"registered as {registered}", flush=True)
