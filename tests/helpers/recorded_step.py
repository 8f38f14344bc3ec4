"""A stand-in for CUDA graphs on a CPU: a step is recorded as a list of calls, and repeated without Python.

As in a graph, the recorded calls keep their plain numbers and the addresses of their tensors. So a learning
rate that is a plain number never changes again, and a tensor that is made for each step keeps its first
contents. Reading a tensor on the host is an error while a step is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netslim.training.graph_step import Capture

WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
"""Calls for which the host has to wait for the result."""

_Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Run `step` once, and return a function that repeats its calls on the same tensors."""
    assert device.type == "cpu"
    with _Recorder() as recorder:
        step()

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, recorded in recorder.calls:
                _overwrite(recorded, func(*args, **kwargs))

    return replay


def as_it_is(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """No recording: each replay is the step itself, run by Python."""
    return step


def _overwrite(recorded: Any, result: Any) -> None:
    """Put the result of a call where the recorded call had put it. Views and changed arguments are there."""
    for old, new in zip(tree_leaves(recorded), tree_leaves(result), strict=True):
        if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
            assert old.shape == new.shape
            old.copy_(new)


class Counted:
    """A capture that counts the recordings and the replays."""

    def __init__(self, capture: Capture) -> None:
        self.capture, self.recordings, self.replays = capture, 0, 0

    def __call__(self, step: Callable[[], None], device: torch.device) -> Callable[[], None]:
        self.recordings += 1
        replay = self.capture(step, device)

        def counted() -> None:
            self.replays += 1
            replay()

        return counted
