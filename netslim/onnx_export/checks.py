"""Check an exported file against its PyTorch model: structure, results, number of weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netslim.errors import ExportError
from netslim.nn._torch import TorchDispatchMode
from netslim.onnx_export.tolerance import ABSOLUTE, is_close
from netslim.onnx_export.translate import BATCH, INPUT, OPSET, OUTPUT, random_images

if TYPE_CHECKING:
    import onnx

__all__ = ["check_parity", "check_structure", "relative_difference"]

PARITY_BATCHES = (1, 2, 7)
WEIGHTED_OPERATORS = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.linear.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
}


def check_structure(proto: onnx.ModelProto, shape: tuple[int, int, int]) -> None:
    """The graph is valid, of our opset, and maps `input` [batch, *shape] to `logits` [batch, any].

    Raises:
        ExportError: it is not.
    """
    import onnx

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset != OPSET:
        raise ExportError(f"torch wrote opset {opset} instead of {OPSET}", field="opset")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refused the file ({error})", field="model.onnx") from error
    expected_shapes = {INPUT: (BATCH, *shape), OUTPUT: (BATCH, None)}  # None: any number of classes
    for value in (*inferred.graph.input, *inferred.graph.output):
        dims = tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        expected = expected_shapes.get(value.name, ())
        matches = (size in (dim, None) for dim, size in zip(dims, expected, strict=False))
        if len(dims) != len(expected) or not all(matches):
            raise ExportError(
                f"has the shape {dims} instead of {expected}",
                field=value.name,
                remedy="The model must map images [batch, C, H, W] to logits [batch, classes]",
            )


def check_parity(model: nn.Module, file: Path, shape: tuple[int, int, int]) -> tuple[int, float]:
    """Compare onnxruntime with PyTorch on random images, for several batch sizes.

    Returns:
        The number of weights that PyTorch used (once for each use), and the largest difference of the logits
        as a share of the largest logit.

    Raises:
        ExportError: the logits differ, or are not finite.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    largest, weights = 0.0, 0
    for batch in PARITY_BATCHES:
        images = random_images(batch, shape)
        with torch.no_grad(), _WeightCounter(model) as counter:
            expected = model(images)
        result = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        weights = counter.weights
        largest = max(largest, relative_difference(expected, result, batch))
    return weights, largest


def relative_difference(expected: Tensor, result: Tensor, batch: int) -> float:
    """The largest difference of two logits [batch, classes], as a share of the largest logit.

    The predicted classes have to agree as well, unless two logits are equal within the tolerance.

    Raises:
        ExportError: the logits differ by more than the tolerance, or are not finite.
    """
    scale = expected.abs().max().item()
    difference = (expected - result).abs().max().item()
    predicted = result.argmax(1, keepdim=True)
    lead = expected.max(1, keepdim=True).values - expected.gather(1, predicted)
    same_class = bool((lead <= ABSOLUTE * scale).all())
    if not (is_close(result.numpy(), expected.numpy(), scale=scale) and same_class):
        raise ExportError(
            f"onnxruntime and PyTorch differ by {difference:.3g} at batch size {batch}, "
            f"where the largest logit is {scale:.3g}",
            field=OUTPUT,
            remedy="A NaN or infinite logit means that training diverged; else the exporter is at fault",
        )
    return difference / scale if scale else 0.0


class _WeightCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the parameter values that convolutions and matrix products use in one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters = {p.untyped_storage().data_ptr() for p in model.parameters() if p.numel()}
        self.weights = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WEIGHTED_OPERATORS:
            tensors = [value for value in args if isinstance(value, Tensor) and value.ndim >= 2]
            used = [tensor for tensor in tensors if tensor.untyped_storage().data_ptr() in self.parameters]
            self.weights += sum(tensor.numel() for tensor in used)
        return func(*args, **(kwargs or {}))
