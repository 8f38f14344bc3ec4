"""Run a network on tensors without data, and record how its channels depend on each other.

The run takes the path of the model's own Python code with the real shapes, so it may decide by shapes. The
network runs in eval mode, without gradients, and then in train mode, with gradients: its own code may read
the mode in any way (auxiliary heads). See `netslim.dependency.call_log`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from netslim.dependency.attribute_sizes import count_attributes
from netslim.dependency.call_log import CallLog, OtherCall
from netslim.dependency.layer_log import log_layers, stop_logging
from netslim.dependency.leaving import attributes_with_tensors, exhausted, keep_leaving
from netslim.dependency.records import IN, OUT, TraceRecords
from netslim.dependency.rules import RULES
from netslim.dependency.settle import settle
from netslim.dependency.symbolic_size import ParameterCount
from netslim.dependency.tracer import FollowCalls, TracedTensor
from netslim.errors import ModelError, NetslimError
from netslim.nn._torch import tree_map_only
from netslim.nn.follow_rules import own_rules, use_own_rules
from netslim.nn.module_copy import ModuleIndex, copy_module, modules_by_path

__all__ = ["trace"]

_SAME_IN_BOTH_MODES = "torchvision.ops."
"""Modules whose mode changes no dependency between channels, although it changes their calls: stochastic
depth. They stay in eval mode."""


def trace(tree: ModuleIndex, example_input: Any) -> TraceRecords:
    """Record the dependencies of a network. The network is not changed; its weights are read, not copied.

    Args:
        example_input: what the model takes: a tensor, batch first, or a tuple of arguments. Only shapes and
            dtypes count.

    Raises:
        ModelError: the model cannot be run without data; the message names the line.
    """
    records = _trace(tree, example_input, frozenset())
    if records.constants:  # attributes may hold them: see `attribute_sizes`
        counted = _trace(tree, example_input, records.constants)
        if counted.attribute_sizes:
            return counted
    return records


def _trace(tree: ModuleIndex, example_input: Any, sizes: Collection[int]) -> TraceRecords:
    """One trace. Attributes of the model's own modules that hold one of these sizes are followed."""
    records = TraceRecords(tree.tensors, tree.modules, RULES)
    records.device = next((tensor.device for tensor in tree.tensors.values()), records.device)
    skeleton = _skeleton(tree, records)
    use_own_rules(skeleton)
    by_path = modules_by_path(skeleton)
    modules = list(by_path.values())
    for path, module in by_path.items() if sizes else ():
        count_attributes(module, path, records, sizes)
    given = example_input if isinstance(example_input, tuple) else (example_input,)
    logs = [CallLog()]
    logged = log_layers(modules, records, logs)
    inputs = _traced(given, records)
    run = _Runs(skeleton, modules)
    try:
        run(inputs, FollowCalls(records, logs[-1]), training=False)
    except NetslimError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(value.shape)) for value in given if isinstance(value, Tensor))
        problem = f"the model does not run on it ({type(error).__name__}: {error})"
        remedy = "Give an input of the shape and dtype that the model takes"
        raise ModelError(problem, field="example_input", value=shapes, remedy=remedy) from error
    try:
        logs[-1].repeats = True
        run(inputs, FollowCalls(records, logs[-1]), training=True)
    except OtherCall:
        records.second_mode = True
        logs.append(CallLog())
        _run_train_mode(run, _traced(given, records), FollowCalls(records, logs[-1]))
    except Exception as error:
        _note_train_mode(records, error)
    for name, value in attributes_with_tensors(modules):
        keep_leaving(records, value, f"the model keeps them as its attribute {name}")
    stop_logging(logged)
    settle(records)
    return records


def _run_train_mode(run: _Runs, inputs: tuple[Any, ...], calls: FollowCalls) -> None:
    """Follow train mode from the beginning, because it makes other calls than eval mode."""
    try:
        run(inputs, calls, training=True)
    except Exception as error:
        _note_train_mode(calls.records, error)


def _note_train_mode(records: TraceRecords, error: Exception) -> None:
    """A detector, for example, takes more inputs in train mode."""
    problem = str(error).split("\n", 1)[0]
    records.notes.append(
        f"only eval mode was followed, because train mode failed ({type(error).__name__}: {problem})"
    )


def _traced(inputs: tuple[Any, ...], records: TraceRecords) -> tuple[Any, ...]:
    def traced(value: Tensor) -> TracedTensor:
        return TracedTensor(value.shape, value.dtype, records, why="they are the network's input")

    result: tuple[Any, ...] = tree_map_only(Tensor, traced, inputs)
    return result


def _skeleton(tree: ModuleIndex, records: TraceRecords) -> nn.Module:
    """A copy of the modules whose parameters and buffers are traced tensors, and whose widths are counts."""
    copies: dict[int, Any] = {}
    for path, tensor in tree.tensors.items():
        if path.endswith("num_batches_tracked"):
            copies[id(tensor)] = records.batch_counter
        else:
            copies[id(tensor)] = TracedTensor(tensor.shape, tensor.dtype, records, source=path)
    skeleton = copy_module(tree, copies)
    paths: dict[int, str] = {}
    for path, module in tree.modules.items():
        copy = copies.get(id(module))
        if copy is not None:
            paths[id(copy)] = path
            _count_widths(copy, path, records)
    records.paths = paths
    return skeleton


def _count_widths(module: nn.Module, path: str, records: TraceRecords) -> None:
    """The attributes of a layer that state its widths change with it, so they are counts."""
    own = vars(module)
    if isinstance(module, _ConvNd):
        axes: dict[str, int | None] = {"out_channels": OUT, "in_channels": IN}
        if 1 < own["groups"] == own["in_channels"]:
            axes["groups"] = IN
    elif isinstance(module, nn.Linear):
        axes = {"out_features": OUT, "in_features": IN}
    elif isinstance(module, _BatchNorm):
        axes = {"num_features": None}
    else:
        return
    weight = getattr(module, "weight", None)
    if type(weight) is TracedTensor:
        for name, axis in axes.items():
            own[name] = ParameterCount(records, own[name], weight.source, axis, path)


class _Runs:
    """Runs of the skeleton, in eval mode or in train mode.

    Args:
        modules: all modules of the skeleton.
    """

    def __init__(self, skeleton: nn.Module, modules: Iterable[nn.Module]) -> None:
        self.skeleton = skeleton
        self.switched: list[dict[str, Any]] = []
        for module in modules:
            own = vars(module)
            own["training"] = False
            if not type(module).__module__.startswith(_SAME_IN_BOTH_MODES):
                self.switched.append(own)

    def __call__(self, inputs: tuple[Any, ...], calls: FollowCalls, *, training: bool) -> None:
        """Run the network, and keep the channels of what leaves it."""
        for own in self.switched:
            own["training"] = training
        with torch.set_grad_enabled(training), calls, own_rules():
            outputs = exhausted(self.skeleton(*inputs))
        keep_leaving(calls.records, (outputs, inputs), "they are the network's output")
