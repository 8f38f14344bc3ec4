"""Step: write the ONNX model, and check that it computes what the PyTorch model computes."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def export_onnx(
    dataset: dsl.Input[dsl.Dataset],
    start: dsl.Input[dsl.Model],
    onnx: dsl.Output[dsl.Model],
    pass_index: int = 0,
    architecture: str = "",
) -> None:
    """Export one ONNX file without external data, and compare its outputs at batch 1, 2 and 7.

    Args:
        dataset: a packed dataset: its classes and normalisation go into the file's metadata.
        start: the network to export.
        onnx: model.onnx, the files that follow from it (labels, samples, int8), and the step records.
        pass_index: number of the pass; 0 is the baseline.
        architecture: the run's network. If it is package.module:factory, that Python code may be run.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.export import export_step
    from netslim.steps.step_log import step_log

    with step_process(), step_log(f"export of pass {int(pass_index)}") as log:
        metrics = export_step(
            dataset.path, start.path, onnx.path, pass_index=int(pass_index), architecture=architecture
        )
        log.outcome = metrics.summary
    size = metrics.size
    onnx.metadata.update(bytes=float(metrics.onnx_bytes), params=float(size.params), flops=float(size.flops))
