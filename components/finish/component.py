"""Step: close the MLflow run, whatever happened, and write the report."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def finish(
    report: dsl.Output[dsl.HTML],
    status: dsl.PipelineTaskFinalStatus,
    experiment: str = "netslim/digits",
) -> None:
    """End the run in MLflow as finished or failed, and draw its table and plots.

    Args:
        report: one HTML page that needs no network.
        status: how the rest of the pipeline ended.
        experiment: the MLflow experiment.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.finish import finish_step

    # "FAILED" is the one state that means the same locally and on a backend. No other state shows that the
    # run came to its end: a backend does not set FAILED after a time limit, a cancellation or a kill.
    as_step(finish_step)(report.path, failed=status.state == "FAILED", experiment=experiment)
