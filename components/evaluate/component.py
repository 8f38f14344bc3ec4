"""Step: measure the exported ONNX model, write the pass's row, log it, and decide whether to go on."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    onnx: dsl.Input[dsl.Model],
    ledger: dsl.Output[dsl.Metrics],
    bundle: dsl.Output[dsl.Model],
    previous: dsl.Input[dsl.Metrics] = None,
    pass_index: int = 0,
    passes: int = 3,
    max_loss: float = 1.0,
    experiment: str = "netslim/digits",
    point: str = "",
) -> bool:
    """Measure with onnxruntime and decide: another pass, or stop and say why.

    Args:
        dataset: a packed dataset.
        onnx: the exported model, with the evidence of its pass.
        ledger: the rows of all passes so far.
        bundle: the model with all that its users need, as `netslim verify` checks it.
        previous: the ledger of the pass before.
        pass_index: which slimming pass this is; 0 is the baseline.
        passes: how many passes the user asked for.
        max_loss: how many percentage points of error above the baseline are allowed.
        experiment: the MLflow experiment.
        point: name of this point when it is one of a sweep and not a pass.

    Returns:
        Whether another pass is worth running.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.evaluate import evaluate_step

    go_on, found = as_step(evaluate_step)(
        dataset.path,
        onnx.path,
        ledger.path,
        bundle.path,
        previous=previous.path if previous else None,
        pass_index=int(pass_index),
        passes=int(passes),
        max_loss=max_loss,
        experiment=experiment,
        point=point,
    )
    ledger.metadata.update(found)
    return go_on
