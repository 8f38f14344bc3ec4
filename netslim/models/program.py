"""A network as a program of torch.export: a file that PyTorch alone runs, without the network's class.

The file is a zip of JSON and raw tensors. torch.export would store the example inputs as a pickle, so they
are left out. So is the line of code of every operation, because it contains paths of this machine.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError, first_line
from netslim.nn._torch import tree_leaves, tree_map_only
from netslim.nn.module_copy import ModuleIndex
from netslim.onnx_export.failure import reason
from netslim.onnx_export.quiet import quiet
from netslim.onnx_export.tolerance import ABSOLUTE, RELATIVE
from netslim.pruning.apply_plan import apply_plan
from netslim.pruning.plan import Plan
from netslim.pruning.trial_run import as_arguments, example_fits

__all__ = ["PROGRAM", "write_program"]

PROGRAM = "program.pt2"
BATCHES = (1, 2, 7)
REMEDY = "Save it without example_input: plan and weights are enough where the network's class is available"
_PLAIN = (Tensor, str, int, float, type(None))


def write_program(path: Path, model: nn.Module, example_input: Any) -> None:
    """Write the program of a network in eval mode, on the CPU, and check it. The network is not changed.

    The batch size is free, all other sizes are those of the example. `torch.export.load(path).module()` is a
    module with the arguments and results of the network, and the same weights.

    Args:
        path: the file.
        model: without DataParallel or torch.compile around it.
        example_input: a tensor, batch first, or a tuple of arguments. Each tensor whose first axis is as long
            as that of the first tensor has the batch there.

    Raises:
        ModelError: the network does not run on the example, torch.export refuses it, the file would need a
            pickle or a class of the network's own, or the results differ from those of the network for a
            batch of 1, 2 or 7.
    """
    network = apply_plan(model, Plan.empty()).to("cpu").eval()  # a copy without hooks
    arguments = _on_cpu(as_arguments(example_input))
    example_fits(ModuleIndex.of(network), arguments)
    name = type(model).__name__
    _require_plain(arguments, "it takes", name)
    _require_plain(_results(network, arguments, 2, "it", name), "it returns", name)
    program = _exported(network, arguments, name)
    with quiet():
        stored = _bytes_of(program, name)
        _require_no_pickle(stored, name)
        path.write_bytes(stored)
        _compare(_loaded(stored, name), network, arguments, name)


def _on_cpu(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    def values(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor.detach().cpu()

    moved: tuple[Any, ...] = tree_map_only(Tensor, values, arguments)
    return moved


def _is_batched(arguments: tuple[Any, ...]) -> Callable[[Tensor], bool]:
    """Whether a tensor among the arguments has the batch along its first axis."""
    lengths = [len(leaf) for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.dim()]
    return lambda tensor: tensor.dim() > 0 and len(tensor) == lengths[0]


def _with_batch(arguments: tuple[Any, ...], batch: int) -> tuple[Any, ...]:
    """Arguments for another batch size: random numbers in place of numbers, the example's rows for others."""
    batched = _is_batched(arguments)
    generator = torch.Generator().manual_seed(batch)

    def resized(tensor: Tensor) -> Tensor:
        if not batched(tensor):
            return tensor
        if tensor.is_floating_point() or tensor.is_complex():
            return torch.randn(batch, *tensor.shape[1:], dtype=tensor.dtype, generator=generator)
        return tensor[torch.arange(batch) % len(tensor)]

    result: tuple[Any, ...] = tree_map_only(Tensor, resized, arguments)
    return result


def _free_axes(value: Any, batched: Callable[[Tensor], bool]) -> Any:
    """The `dynamic_shapes` of torch.export for (one of) the arguments."""
    if isinstance(value, Tensor):
        return {0: torch.export.Dim("batch")} if batched(value) else None
    if isinstance(value, dict):
        return {key: _free_axes(part, batched) for key, part in value.items()}
    return tuple(_free_axes(part, batched) for part in value) if isinstance(value, (tuple, list)) else None


def _exported(network: nn.Module, arguments: tuple[Any, ...], name: str) -> torch.export.ExportedProgram:
    examples = _with_batch(arguments, 2)  # with a batch of one, torch.export takes its size for a constant
    axes = _free_axes(arguments, _is_batched(arguments))
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            program = torch.export.export(network, examples, dynamic_shapes=axes)
    except Exception as error:  # many types of exceptions, all with the same meaning
        raise _refused(f"torch.export cannot write it as a program ({reason(error)})", name) from error
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _bytes_of(program: torch.export.ExportedProgram, name: str) -> bytes:
    """The file. It is made in memory: where a disk is full, torch's writer raises no error."""
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer)
    except Exception as error:
        raise _refused(f"torch.export cannot store the program ({reason(error)})", name) from error
    return buffer.getvalue()


def _require_no_pickle(stored: bytes, name: str) -> None:
    """torch.export pickles example inputs, tensors of subclasses of Tensor, and objects of other types."""
    with zipfile.ZipFile(io.BytesIO(stored)) as file:
        for entry in file.infolist():
            if entry.filename.endswith(".pt") and entry.file_size:  # as torch.save names its files
                raise _refused(f"torch.export would store {entry.filename} as a pickle", name)
            if entry.filename.endswith("_config.json"):
                for tensor, how in json.loads(file.read(entry))["config"].items():
                    if how["use_pickle"]:
                        raise _refused(f"torch.export would store {tensor} as a pickle", name)


def _loaded(stored: bytes, name: str) -> nn.Module:
    try:
        return torch.export.load(io.BytesIO(stored)).module()
    except Exception as error:
        raise _refused(f"torch.export cannot read the program again ({reason(error)})", name) from error


def _compare(program: nn.Module, network: nn.Module, arguments: tuple[Any, ...], name: str) -> None:
    for batch in BATCHES:
        expected = _results(network, arguments, batch, "it", name)
        results = _results(program, arguments, batch, "its program", name)
        if _structure(expected) != _structure(results):
            raise _refused(f"with a batch of {batch} its program returns something else", name)
        for result, value in zip(tree_leaves(results), tree_leaves(expected), strict=True):
            if isinstance(value, Tensor) and not _is_close(result, value):
                raise _refused(f"with a batch of {batch} its program computes something else", name)


def _results(module: nn.Module, arguments: tuple[Any, ...], batch: int, subject: str, name: str) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same for both
        try:
            return module(*_with_batch(arguments, batch))
        except Exception as error:
            problem = f"{subject} does not run with a batch of {batch} ({first_line(error)})"
            raise _refused(problem, name) from error


def _structure(results: Any) -> Any:
    """The results with the dtype and shape of each tensor in its place."""
    return tree_map_only(Tensor, lambda tensor: (tensor.dtype, tensor.shape), results)


def _is_close(result: Tensor, expected: Tensor) -> bool:
    """As for ONNX files; NaN and infinite values must be the same."""
    if not (expected.is_floating_point() or expected.is_complex()):
        return torch.equal(result, expected)
    finite = expected[expected.isfinite()].abs()
    absolute = ABSOLUTE * float(finite.max()) if len(finite) else 0.0
    return torch.allclose(result, expected, rtol=RELATIVE, atol=absolute, equal_nan=True)


def _require_plain(value: Any, which: str, name: str) -> None:
    """The program of a network with a class of its own in arguments or results does not run without it."""
    if type(value) in (tuple, list):
        parts = list(value)
    elif type(value) in (dict, OrderedDict):
        parts = list(value.values())
    elif isinstance(value, _PLAIN):
        return
    else:
        problem = f"{which} a {type(value).__name__}, and a program has only tensors, tuples, lists and dicts"
        raise _refused(problem, name)
    for part in parts:
        _require_plain(part, which, name)


def _refused(problem: str, name: str) -> ModelError:
    return ModelError(problem, field=name, remedy=REMEDY)
