"""Step: write the ONNX model, and prove that it computes what the PyTorch model computes."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("export")
def export_onnx(
    dataset: dsl.Input[dsl.Dataset],
    start: dsl.Input[dsl.Model],
    onnx: dsl.Output[dsl.Model],
    pass_index: int = 0,
) -> None:
    """Export one self-contained ONNX file, checked, with parity at batch 1, 2 and 7.

    Args:
        dataset: a packed dataset: its classes and normalisation go into the file's metadata.
        start: the network to export.
        onnx: model.onnx, what follows from it alone (labels, samples, int8), and the evidence of its pass.
        pass_index: which slimming pass this is; 0 is the baseline.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.export import export_step

    found = as_step(export_step)(dataset.path, start.path, onnx.path, pass_index=int(pass_index))
    onnx.metadata.update(bytes=found["bytes"], params=found["params"], flops=found["flops"])
