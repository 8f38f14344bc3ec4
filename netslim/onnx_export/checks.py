"""Check an exported file against its PyTorch model: structure and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netslim.errors import ExportError, first_line
from netslim.nn._torch import DispatchMode
from netslim.onnx_export.failure import reason
from netslim.onnx_export.tolerance import ABSOLUTE, is_close
from netslim.onnx_export.translate import BATCH, INPUT, OPSET, OUTPUT, random_images

if TYPE_CHECKING:
    import onnx

__all__ = ["ExpectedResults", "check_parity", "check_structure", "expected_results", "relative_difference"]

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
        problem = f"the ONNX checker refused the file ({first_line(error)})"
        raise ExportError(problem, field="model.onnx") from error
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


@dataclass(frozen=True)
class ExpectedResults:
    """What PyTorch computes for `random_images`.

    Args:
        logits: float32[batch, classes], by batch size.
        weights: of convolutions and matrix products in one forward pass, once for each use.
    """

    logits: dict[int, Tensor]
    weights: int


def expected_results(model: nn.Module, shape: tuple[int, int, int]) -> ExpectedResults:
    """Run the model on random images, for several batch sizes.

    Args:
        model: in eval mode, on the CPU.
        shape: (C, H, W) of one image.

    Raises:
        ExportError: the model does not run on such images, or does not return one tensor of floats.
    """
    logits: dict[int, Tensor] = {}
    counter = _WeightCounter(model)
    for batch in PARITY_BATCHES:
        counter.weights = 0
        try:
            with torch.no_grad(), counter:
                result = model(random_images(batch, shape))
        except Exception as error:
            raise ExportError(
                f"the model does not run on images {[batch, *shape]} ({reason(error)})",
                field=type(model).__name__,
                remedy="Its forward must take one batch of images, of any number",
            ) from error
        if not isinstance(result, Tensor) or not result.is_floating_point():
            kind = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
            raise ExportError(
                f"its forward returns {kind}, not one tensor of floats",
                field=type(model).__name__,
                remedy="Return the logits [batch, classes] alone, in a small module around it where needed",
            )
        logits[batch] = result
    return ExpectedResults(logits, counter.weights)


def check_parity(expected: ExpectedResults, file: Path, shape: tuple[int, int, int]) -> float:
    """Compare onnxruntime with PyTorch on random images; returns the largest difference of the logits.

    The difference is a share of the largest logit.

    Raises:
        ExportError: onnxruntime cannot run the file, or the logits differ, or are not finite.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    largest = 0.0
    for batch, logits in expected.logits.items():
        images = random_images(batch, shape)
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            result = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise ExportError(
                f"onnxruntime cannot run the exported file ({first_line(error)})",
                field=OUTPUT,
                remedy="torch's exporter does not support a layer of this model; replace that layer",
            ) from error
        largest = max(largest, relative_difference(logits, result, batch))
    return largest


def relative_difference(expected: Tensor, result: Tensor, batch: int) -> float:
    """The largest difference of two logits [batch, classes], as a share of the largest logit.

    The predicted classes have to agree as well, unless two logits are equal within the tolerance.

    Raises:
        ExportError: the logits differ by more than the tolerance, or are not finite.
    """
    if result.shape != expected.shape:
        raise ExportError(
            f"onnxruntime gives {list(result.shape)} at batch size {batch}, PyTorch {list(expected.shape)}",
            field=OUTPUT,
            remedy="Its forward must not depend on values of the image that the export was made with",
        )
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
            remedy="A NaN or infinite logit means that training diverged; a forward that turns tensors into"
            " Python or numpy values exports these as constants; else the exporter is at fault",
        )
    return difference / scale if scale else 0.0


class _WeightCounter(DispatchMode):
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
