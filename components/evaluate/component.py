"""Step: measure the exported ONNX model, write and log the results, and decide on another pass."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    onnx: dsl.Input[dsl.Model],
    results: dsl.Output[dsl.Metrics],
    bundle: dsl.Output[dsl.Model],
    previous: dsl.Input[dsl.Metrics] = None,
    pass_index: int = 0,
    passes: int = 3,
    max_error_increase: float = 1.0,
    experiment: str = "netslim/digits",
    point: str = "",
) -> bool:
    """Measure errors and latencies with onnxruntime, and decide by the stopping rule.

    Args:
        dataset: a packed dataset.
        onnx: the exported model, with the step records of its pass.
        results: the results of all passes so far.
        bundle: the model with all files that its users need; `netslim verify` checks it.
        previous: the results of the pass before.
        pass_index: number of the pass; 0 is the baseline.
        passes: how many passes the user asked for.
        max_error_increase: how many percentage points the error may be above the baseline's.
        experiment: the MLflow experiment.
        point: `lambda` or `percent`: which sweep this is a point of; empty for a pass.

    Returns:
        Whether another pass is worth running.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.evaluate import evaluate_step

    with step_process():
        evaluation = evaluate_step(
            dataset.path,
            onnx.path,
            results.path,
            bundle.path,
            previous=previous.path if previous else None,
            pass_index=int(pass_index),
            passes=int(passes),
            max_error_increase=max_error_increase,
            experiment=experiment,
            point=point,
        )
    size = evaluation.size
    results.metadata.update(error=evaluation.error, params=float(size.params), flops=float(size.flops))
    return evaluation.continue_
