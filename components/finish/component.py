"""Step: close the MLflow run of a pipeline that failed or was stopped, and write the report."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def finish(
    report: dsl.Output[dsl.HTML],
    status: dsl.PipelineTaskFinalStatus,
    experiment: str = "netslim/digits",
) -> None:
    """Close the run in MLflow, with the reason, if its last evaluation has not closed it.

    Args:
        report: one HTML page that loads nothing from the network.
        status: the final state of the steps before.
        experiment: the MLflow experiment.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.finish import finish_step
    from netslim.steps.step_log import step_log
    from netslim_kfp.components.run_ending import run_ending

    with step_process(), step_log("the end of the run") as log:
        log.outcome = finish_step(report.path, ending=lambda: run_ending(status), experiment=experiment)
