"""Step: measure the exported ONNX model, write and log the results, and decide on another pass."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    onnx: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Metrics],
    bundle: dsl.Output[dsl.Model],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    previous: dsl.Input[dsl.Metrics] = None,
    wide: dsl.Input[dsl.Model] = None,
    pass_index: int = 0,
    passes: int = 3,
    max_error_increase: float = 1.0,
    experiment: str = "netslim/digits",
    run_name: str = "",
    point: str = "",
    points: int = 0,
) -> bool:
    """Measure errors and latencies with onnxruntime, and decide by the stopping rule.

    Args:
        dataset: a packed dataset.
        onnx: the exported model, with the step records of its pass.
        results: the results of all passes so far.
        bundle: the model with all files that its users need; `netslim verify` checks it.
        report: the report of the run so far: one HTML page that loads nothing from the network.
        summary: the decision after this pass and the table over passes.
        confusion: the confusion matrix of the test images; of many classes those that are confused most.
        previous: the results of the pass before.
        wide: the exported wide network, whose latency is measured in turns with this model's.
        pass_index: number of the pass; 0 is the baseline.
        passes: how many passes the user asked for.
        max_error_increase: how many percentage points the error may be above the baseline's.
        experiment: the MLflow experiment.
        run_name: the name of the run in MLflow.
        point: `lambda` or `percent`: which sweep this is a point of; empty for a pass.
        points: how many points the sweep has; 0 where that is not known.

    Returns:
        Whether another pass is worth running.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.evaluate import evaluate_step
    from netslim.steps.step_log import step_log

    with step_process(), step_log(f"evaluation of pass {int(pass_index)}") as log:
        evaluation = evaluate_step(
            dataset.path,
            onnx.path,
            results.path,
            bundle.path,
            previous=previous.path if previous else None,
            wide=wide.path if wide else None,
            page=report.path,
            overview=summary.path,
            confusion=confusion.path,
            pass_index=int(pass_index),
            passes=int(passes),
            max_error_increase=max_error_increase,
            experiment=experiment,
            run_name=run_name,
            point=point,
            points=int(points),
        )
        log.outcome = evaluation.summary
    size = evaluation.size
    results.metadata.update(error=evaluation.error, params=float(size.params), flops=float(size.flops))
    matrix = evaluation.confusion.for_display()
    confusion.log_confusion_matrix(list(matrix.classes), [list(row) for row in matrix.counts])
    return evaluation.continue_
