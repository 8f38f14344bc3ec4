"""Step: close the MLflow run, also after a failure, and write the report."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def finish(
    report: dsl.Output[dsl.HTML],
    status: dsl.PipelineTaskFinalStatus,
    experiment: str = "netslim/digits",
) -> None:
    """Close the run in MLflow as finished or failed, and write its table and plots.

    Args:
        report: one HTML page that loads nothing from the network.
        status: the final state of the steps before.
        experiment: the MLflow experiment.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.finish import finish_step

    # FAILED is the only state with the same meaning locally and on a backend. No other state shows that the
    # run was completed: a backend does not set FAILED after a time limit, a cancellation or a kill.
    with step_process():
        finish_step(report.path, failed=status.state == "FAILED", experiment=experiment)
