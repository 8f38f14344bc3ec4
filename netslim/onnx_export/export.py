"""From a PyTorch model to one ONNX file that is proven to compute the same.

The file holds everything (no external data), names its dynamic batch axis, carries its own metadata and no
path of the machine that made it. It is written beside its place, checked there, and only then renamed, so a
file that exists is a file that passed every check below.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netslim.errors import ExportError, first_line
from netslim.onnx_export.graph import weights_of
from netslim.storage.atomic import atomic_file, sha256

if TYPE_CHECKING:
    import onnx

__all__ = ["BATCH", "INPUT", "OPSET", "OUTPUT", "ExportReport", "export_onnx"]

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
OPSET = 18  # the oldest that the dynamo exporter speaks natively, so the one most runtimes can read
PARITY_BATCHES = (1, 2, 7)
RELATIVE, ABSOLUTE = 1e-3, 1e-5  # ABSOLUTE is a share of the largest logit: small logits prove nothing else


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from PyTorch.

    Args:
        params: all parameters of the model. A BN that is folded into the convolution before it leaves its two
            factors per channel in that convolution's weight and bias, so they cannot be counted in the file.
        weights: weights of convolutions and linear layers, as often as they are used; what can be counted in
            both, and was found equal.
        difference: the largest absolute difference of the logits, as a share of the largest logit.
    """

    path: str
    bytes: int
    sha256: str
    opset: int
    params: int
    weights: int
    difference: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    example_shape: tuple[int, int, int],
    metadata: Mapping[str, str],
) -> ExportReport:
    """Write `model` as one float32 ONNX file: input [batch, C, H, W], output logits [batch, classes].

    Args:
        model: any module on any device; it is copied, never changed, and exported in eval mode.
        path: the file to write; replaced when it exists, untouched when the export fails.
        example_shape: (C, H, W) of one image.
        metadata: stored in the file as strings, for whoever loads it without us.

    Raises:
        ExportError: torch cannot export the model, or the file failed a check. Nothing is left behind.
    """
    frozen = copy.deepcopy(model).to("cpu", torch.float32).eval()
    proto = _translate(frozen, example_shape)
    _strip_debug(proto)
    _check_structure(proto, example_shape)
    _attach(proto, metadata)
    with atomic_file(path) as draft:
        draft.write_bytes(proto.SerializeToString(deterministic=True))
        weights, difference = _check_parity(frozen, draft, example_shape)
        if (stored := weights_of(proto)) != weights:
            raise ExportError(
                f"the file holds {stored:,} weights of convolutions and linear layers, the model {weights:,}",
                field=str(path),
                remedy="This is a fault of the exporter; report it with the model's architecture",
            )
        return ExportReport(
            path=str(path),
            bytes=draft.stat().st_size,
            sha256=sha256(draft),
            opset=OPSET,
            params=sum(parameter.numel() for parameter in model.parameters()),
            weights=weights,
            difference=difference,
        )


def _translate(model: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    example = _images(2, shape)  # two: a batch of one invites the tracer to treat it as a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: BATCH},),
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    except Exception as error:  # the exporter raises a dozen types; each means the same to the user
        raise ExportError(
            f"torch could not export the model ({first_line(error)})",
            field=type(model).__name__,
            remedy="Its forward must take one image batch, return one tensor, and not branch on values",
        ) from error
    if program is None:
        raise AssertionError("torch.onnx.export(dynamo=True) returned no program")
    proto: onnx.ModelProto = program.model_proto
    return proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's own warnings and progress: what matters is checked here and raised."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _images(batch: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal images [batch, C, H, W]: what a normalised data set looks like."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def _strip_debug(proto: onnx.ModelProto) -> None:
    """Remove stack traces: absolute paths and source lines of the exporting machine, on every node."""
    graph = proto.graph
    for holder in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *proto.functions):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for function in proto.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""


def _check_structure(proto: onnx.ModelProto, shape: tuple[int, int, int]) -> None:
    import onnx

    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset != OPSET:
        raise ExportError(f"torch wrote opset {opset} instead of {OPSET}", field="opset")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refused the file ({error})", field="model.onnx") from error
    wanted = {INPUT: (BATCH, *shape), OUTPUT: (BATCH, None)}
    for value in (*inferred.graph.input, *inferred.graph.output):
        dims = tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        expected = wanted.get(value.name, ())
        fits = len(dims) == len(expected) and all(b in (a, None) for a, b in zip(dims, expected, strict=True))
        if not fits:
            raise ExportError(
                f"has the shape {dims} instead of {expected}",
                field=value.name,
                remedy="The model must map images [batch, C, H, W] to logits [batch, classes]",
            )


def _attach(proto: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    import onnx

    for key, value in metadata.items():
        if not isinstance(value, str):
            raise TypeError(f"metadata[{key!r}] must be a string, got {type(value).__name__}")
    onnx.helper.set_model_props(proto, dict(metadata))


def _check_parity(model: nn.Module, file: Path, shape: tuple[int, int, int]) -> tuple[int, float]:
    """Compare both runtimes on random images; return the weights PyTorch used and the largest difference."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    worst, used = 0.0, 0
    for batch in PARITY_BATCHES:
        images = _images(batch, shape)
        with torch.no_grad(), _CountWeights(model) as count:
            ours = model(images)
        theirs = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        used = count.weights
        worst = max(worst, _difference(ours, theirs, batch))
    return used, worst


def _difference(ours: Tensor, theirs: Tensor, batch: int) -> float:
    """Largest difference of two logits [batch, classes] over the largest logit; ExportError beyond bounds."""
    scale = ours.abs().max().item()
    difference = (ours - theirs).abs()
    bound = ABSOLUTE * scale + RELATIVE * ours.abs()
    # The classes must agree too, except where PyTorch itself holds two of them for equal within the bound.
    chosen = theirs.argmax(1, keepdim=True)
    lead = ours.max(1, keepdim=True).values - ours.gather(1, chosen)
    if not math.isfinite(scale) or bool((difference > bound).any()) or bool((lead > ABSOLUTE * scale).any()):
        raise ExportError(
            f"onnxruntime and PyTorch differ by {difference.max().item():.3g} at batch size {batch}, "
            f"where the largest logit is {scale:.3g}",
            field=OUTPUT,
            remedy="A NaN or infinite logit means that training diverged; else the exporter is at fault",
        )
    return difference.max().item() / scale if scale else 0.0


_WEIGHTED = {
    torch.ops.aten.convolution.default,
    torch.ops.aten.linear.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
}


class _CountWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the parameter values that convolutions and matrix products use in one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = {p.untyped_storage().data_ptr() for p in model.parameters() if p.numel()}
        self.weights = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WEIGHTED:
            self.weights += sum(
                value.numel()
                for value in args
                if isinstance(value, Tensor)
                and value.ndim >= 2
                and value.untyped_storage().data_ptr() in self.storages
            )
        return func(*args, **(kwargs or {}))
