"""Step finish: close a run in MLflow that did not end by its own results, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable

from netslim import progress, report, tracking
from netslim.errors import TrackingError
from netslim.results.ending import FINISHED, Ending
from netslim.results.run_results import RunResults
from netslim.storage.atomic import write_bytes

__all__ = ["finish_step"]

PATIENCE = 5.0  # seconds


def finish_step(report_path: str | os.PathLike[str], *, ending: Callable[[], Ending], experiment: str) -> str:
    """Write the report of the run, and close it in MLflow unless its last evaluation has closed it.

    The evaluation that ends a run closes it as FINISHED and registers its model, so after KFP's Retry, which
    does not start this step again, a run ends correctly. Here a run that is still open gets the status and
    the reason of `ending`, and no model is registered. A sweep whose number of points is not known is
    FINISHED here, if a point was measured and no step failed.

    KFP gives no artifacts to the step that ends a pipeline, so the passes are read from MLflow. Without a
    tracking server the report contains no pass; each `evaluate` has written the report of its pass.

    Args:
        ending: gives how the run ended if its results do not say so: FAILED or KILLED, with what is known. It
            is called only for a run that no evaluation has closed.

    Returns:
        A line for the end of the step's log.
    """
    with progress.bar("report", 2) as bar:
        state, outage = _state(experiment)
        results = state.results if state else RunResults()
        bar.advance(passes=len(results.rows))
        if state and state.status == "FINISHED":
            write_bytes(report_path, state.page or report.html(results).encode())
            bar.advance()
            return "the run has ended by its own results"
        found = ending()
        known = found.status == "FAILED" or bool(found.cause)
        if _ended(results, found) or (not known and (state is None or outage)):
            found = FINISHED  # nothing says that the run did not end well
        page = report.html(results, found).encode()
        write_bytes(report_path, page)
        if not outage or known:
            files = {"report.html": page, **report.plots(results)}
            tracking.close_run(experiment=experiment, ending=found, files=files, results=results)
        bar.advance()
    return found.sentence or f"{len(results.rows)} passes in the report"


def _state(experiment: str) -> tuple[tracking.RunState | None, bool]:
    """The run as MLflow or, during an outage, the journal has it; and whether there is an outage."""
    try:
        return tracking.run_state(experiment=experiment, patience=PATIENCE), False
    except TrackingError as error:
        print(f"netslim: the passes cannot be read from MLflow: {error}", flush=True)
    kept = tracking.kept_by_this_run()
    return (tracking.RunState("", kept, b"") if kept else None), True


def _ended(results: RunResults, ending: Ending) -> bool:
    """Whether the results say that the run ended well.

    A sweep is not closed by its evaluations where its number of points is not known. An evaluation that
    closes a run during an outage is logged later.
    """
    return results.ended and ending.status != "FAILED"
