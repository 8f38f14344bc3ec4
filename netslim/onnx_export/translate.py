"""Translate a PyTorch model to an ONNX ModelProto with torch's exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netslim.errors import ExportError
from netslim.onnx_export.failure import reason
from netslim.onnx_export.quiet import quiet

if TYPE_CHECKING:
    import onnx

__all__ = ["BATCH", "INPUT", "OPSET", "OUTPUT", "random_images", "translate"]

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
OPSET = 18  # the oldest opset that torch's exporter writes without conversion; most runtimes support it


def translate(model: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """Translate a model in eval mode, on the CPU, to a graph from `input` to `logits`.

    Args:
        model: takes one batch of images and returns one tensor.
        shape: (C, H, W) of one image; the batch axis is dynamic.

    Raises:
        ExportError: torch cannot export the model.
    """
    example = random_images(2, shape)  # with a batch of one, the exporter may take its size for a constant
    try:
        with quiet():
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
    except Exception as error:  # the exporter raises many types of exceptions, all with the same meaning
        why, remedy = reason(error), "Write the forward with operations that ONNX has"
        if "ONNX" not in why:
            remedy = "Its forward must work for every batch size, and not branch on the values of tensors"
        problem = f"torch could not export the model ({why})"
        raise ExportError(problem, field=type(model).__name__, remedy=remedy) from error
    assert program is not None, "torch.onnx.export(dynamo=True) returned no program"
    proto: onnx.ModelProto = program.model_proto
    _strip_debug_information(proto)
    _prepare_for_other_tools(proto)
    return proto


def random_images(batch: int, shape: tuple[int, int, int]) -> Tensor:
    """Images [batch, C, H, W] with mean 0 and standard deviation 1, as normalised datasets have."""
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def _strip_debug_information(proto: onnx.ModelProto) -> None:
    """Remove the stack trace of every node: it contains paths and source lines of this machine."""
    graph = proto.graph
    holders = [graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *proto.functions]
    holders += [node for function in proto.functions for node in function.node]
    for holder in holders:
        del holder.metadata_props[:]
        holder.doc_string = ""


def _prepare_for_other_tools(proto: onnx.ModelProto) -> None:
    """Remove what is redundant, and what other tools do not keep up to date or do not accept.

    A tool that changes a weight leaves the shape of its name in `value_info` as it was (onnxruntime's
    `quantize_dynamic` transposes weights), and the next shape inference fails. Weights contain their own
    shape. `noop_with_empty_axes` stays when onnx converts a reduction to an opset that does not have it; 0 is
    its default.
    """
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.value_info if value.name not in weights]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for node in graph.node:
        for attribute in list(node.attribute):
            if attribute.name == "noop_with_empty_axes" and attribute.i == 0:
                node.attribute.remove(attribute)
