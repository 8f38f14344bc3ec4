"""Run a network once on tensors without data, and record how its channels depend on each other.

The run takes the path of the model's own Python code with the real shapes, so it may decide by shapes. The
mode is eval. If the model's own code decides by `self.training` (auxiliary heads), it is run in train mode as
well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netslim.dependency.records import TraceRecords
from netslim.dependency.rules import RULES
from netslim.dependency.tracer import TracedTensor, TrainingFlag
from netslim.errors import ModelError, NetslimError
from netslim.nn._torch import tree_leaves, tree_map_only
from netslim.nn.module_copy import ModuleIndex, copy_module

__all__ = ["trace"]

_SAME_IN_BOTH_MODES = ("torch.nn.", "torchvision.ops.")
"""Modules whose mode changes no dependency between channels: dropout, BatchNorm, stochastic depth."""


def trace(tree: ModuleIndex, example_input: Any) -> TraceRecords:
    """Record the dependencies of a network. The network is not changed; its weights are read, not copied.

    Args:
        example_input: what the model takes: a tensor, batch first, or a tuple of arguments. Only shapes and
            dtypes count.

    Raises:
        ModelError: the model cannot be run without data; the message names the line.
    """
    records = TraceRecords(tree.tensors, tree.modules, RULES)
    skeleton = _skeleton(tree, records)
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    _run(skeleton, inputs, records, training=False)
    if records.depends_on_mode:
        records.second_mode = True
        _run(skeleton, inputs, records, training=True)
    return records


def _skeleton(tree: ModuleIndex, records: TraceRecords) -> nn.Module:
    """A copy of the modules whose parameters and buffers are traced tensors."""
    copies: dict[int, Any] = {}
    for path, tensor in tree.tensors.items():
        if path.endswith("num_batches_tracked"):  # a scalar that train mode counts up
            copies[id(tensor)] = torch.empty_like(tensor, device="meta")
        else:
            copies[id(tensor)] = TracedTensor(tensor.shape, tensor.dtype, records, source=path)
    skeleton = copy_module(tree, copies)
    records.paths = {
        id(copies[id(module)]): path for path, module in tree.modules.items() if id(module) in copies
    }
    return skeleton


def _run(skeleton: nn.Module, inputs: tuple[Any, ...], records: TraceRecords, *, training: bool) -> None:
    flag = TrainingFlag(training, records)
    for module in skeleton.modules():
        same = type(module).__module__.startswith(_SAME_IN_BOTH_MODES)
        vars(module)["training"] = training if same else flag

    def traced(value: Tensor) -> TracedTensor:
        return TracedTensor(value.shape, value.dtype, records, why="they are the network's input")

    try:
        with torch.no_grad():
            outputs = skeleton(*tree_map_only(Tensor, traced, inputs))
    except NetslimError:
        raise
    except Exception as error:
        given = ", ".join(str(tuple(value.shape)) for value in inputs if isinstance(value, Tensor))
        problem = f"the model does not run on it ({type(error).__name__}: {error})"
        remedy = "Give an input of the shape and dtype that the model takes"
        raise ModelError(problem, field="example_input", value=given, remedy=remedy) from error
    for output in tree_leaves(outputs):
        if isinstance(output, TracedTensor) and output.channels is not None:
            records.mark_unprunable(output.channels.labels, "they are the network's output")
            records.uncompensated_sources.extend(output.channels.conv_sources)
