"""Translate a PyTorch model to an ONNX ModelProto with torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from netslim.errors import ExportError, first_line

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
    except Exception as error:  # the exporter raises many types of exceptions, all with the same meaning
        raise ExportError(
            f"torch could not export the model ({first_line(error)})",
            field=type(model).__name__,
            remedy="Its forward must take one image batch, return one tensor, and not branch on values",
        ) from error
    assert program is not None, "torch.onnx.export(dynamo=True) returned no program"
    proto: onnx.ModelProto = program.model_proto
    _strip_debug_information(proto)
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings and progress of the exporter. The checks afterwards find what matters."""
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
