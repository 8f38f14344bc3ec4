"""Run the slim network once before it is returned: a network that does not run is never a result.

The first run computes shapes only (`netslim.nn.shape_run`). Where it fails, a copy of the network is run with
data, which decides; and if the wide network fails as well, the example input is wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError, first_line
from netslim.nn._torch import tree_map_only
from netslim.nn.module_copy import ModuleIndex, copy_module
from netslim.nn.shape_run import run_shapes

__all__ = ["Failure", "example_fits", "first_failure", "refuse_example"]

_HERE = Path(__file__).parent
_NOT_THE_MODEL = tuple(f"{folder}/" for folder in (Path(torch.__file__).parent, _HERE, _HERE.parent / "nn"))


@dataclass(frozen=True)
class Failure:
    """Why a network does not run.

    Args:
        problem: the exception, in one line.
        line: the line of the model's own code, as `TraceRecords.source_line` gives it; "" if there is none.
        module: the path of the module whose code that line is; of the norm, if a norm did not run.
    """

    problem: str
    line: str
    module: str

    def __str__(self) -> str:
        return f"{self.problem}, at {self.line}" if self.line else self.problem


def first_failure(
    slim: nn.Module, wide: ModuleIndex, example_input: Any, *, two_modes: bool
) -> Failure | None:
    """Why the slim network does not run; None if it does. Neither network is changed.

    Args:
        two_modes: train mode makes other calls than eval mode, so both are run, and the modes as they are.

    Raises:
        ModelError: the wide network does not run on the example input.
    """
    inputs = as_arguments(example_input)
    modes = [False, True, None] if two_modes else [False]
    left_out: list[nn.Module] = []
    try:
        left_out = run_shapes(slim, inputs, modes)
    except Exception:
        for training in modes:
            failure = _fails(ModuleIndex.of(slim), inputs, training=training)
            if failure is None:
                continue
            wide_failure = _fails(wide, inputs, training=training)
            if wide_failure is None:
                return failure
            if training is False:
                raise refuse_example(example_input, wide_failure) from None
    if not left_out:
        return None
    # The model's code compares the type of a BatchNorm, or calls a function with its weight.
    path = next(path for path, module in slim.named_modules() if module is left_out[0])
    return Failure(f"{path} is not called as the module that it is", "", path)


def example_fits(wide: ModuleIndex, example_input: Any) -> None:
    """Check that the wide network runs on the example input, in eval mode.

    Raises:
        ModelError: it does not.
    """
    inputs = as_arguments(example_input)
    try:
        run_shapes(wide.model, inputs, [False])
    except Exception:
        failure = _fails(wide, inputs, training=False)
        if failure is not None:
            raise refuse_example(example_input, failure) from None


def refuse_example(example_input: Any, failure: Failure) -> ModelError:
    """The error that the wide network does not run on the example input."""
    given = ", ".join(
        f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        for value in as_arguments(example_input)
        if isinstance(value, Tensor)
    )
    remedy = "Give an input of the shape and dtype that the model takes"
    problem = f"the model does not run on it ({failure})"
    return ModelError(problem, field="example_input", value=given or None, remedy=remedy)


def as_arguments(example_input: Any) -> tuple[Any, ...]:
    """The arguments of the model: those in a tuple, or the one that is given."""
    return example_input if isinstance(example_input, tuple) else (example_input,)


def _fails(network: ModuleIndex, inputs: tuple[Any, ...], *, training: bool | None) -> Failure | None:
    """Run a copy with data. In train mode, BatchNorm may need two examples."""
    copies: dict[int, Any] = {}
    for tensor in network.tensors.values():
        data = tensor.detach().clone()
        copies[id(tensor)] = (
            nn.Parameter(data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else data
        )
    model = copy_module(network, copies)
    if training is not None:
        model.train(training)
    paths = {id(module): path for path, module in model.named_modules()}
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    given: tuple[Any, ...] = tree_map_only(Tensor, lambda value: _with_data(value, device), inputs)
    twice: Callable[[Tensor], Tensor] = lambda v: torch.cat([v, v]) if v.dim() and len(v) == 1 else v  # noqa: E731
    attempts = [given] if not model.training else [given, tree_map_only(Tensor, twice, given)]
    failure = None
    for arguments in attempts:
        try:
            with warnings.catch_warnings(), torch.random.fork_rng(), torch.set_grad_enabled(model.training):
                warnings.simplefilter("ignore")
                model(*arguments)
        except Exception as error:
            failure = failure or _failure(error, paths)
        else:
            return None
    return failure


def _with_data(value: Tensor, device: torch.device) -> Tensor:
    return torch.zeros(value.shape, dtype=value.dtype, device=device) if value.is_meta else value.to(device)


def _failure(error: Exception, paths: dict[int, str]) -> Failure:
    """The innermost line of the model's own code, and the module that is called there."""
    problem = f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__
    frames = _frames(error.__traceback__)
    module, line, owner = "", "", ""
    for frame, number in reversed(frames):
        own = paths.get(id(frame.f_locals.get("self")), "")
        module = module or own
        if not frame.f_code.co_filename.startswith(_NOT_THE_MODEL):
            line = f"{Path(frame.f_code.co_filename).name}:{number}"
            line = f"{line} ({module})" if module else line
            owner = own
            break
    return Failure(problem, line, owner or module)


def _frames(traceback: TracebackType | None) -> list[tuple[Any, int]]:
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames
