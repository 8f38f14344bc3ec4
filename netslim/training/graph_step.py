"""Steps of training on a GPU, launched as one CUDA graph instead of hundreds of kernels.

At small batch sizes the host needs longer to launch a step's kernels than the GPU to run them. A graph
records the launches once, with the addresses of all tensors, and repeats them in one call. So everything that
changes from step to step is a tensor at a fixed address, which is overwritten before the step: the batch's
images, crops and distortions, the learning rate and lambda, and the sums of the loss. Plain numbers stay as
they were recorded.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import first_line
from netslim.nn import _torch
from netslim.training import distributed
from netslim.training.loaders import TrainingLoader
from netslim.training.loaders.in_memory import InMemory, Selection
from netslim.training.lr_schedule import Rates
from netslim.training.python_state import PythonState
from netslim.training.recipe import Recipe

__all__ = ["Capture", "GraphStep", "StepScalars", "capture_for", "obstacle", "undone"]

Capture = Callable[[Callable[[], None], torch.device], Callable[[], None]]
"""Takes a function of the step and returns one that repeats it. It may run the step any number of times."""

WARM_UP = 3
"""Steps before the recording, as torch's documentation asks for: in the first, libraries choose kernels."""

_log = logging.getLogger(__name__)


def capture_for(device: torch.device) -> Capture | None:
    """The recorder of steps on a device; None for a CPU, where a graph has no advantage."""
    return cuda_graph if device.type == "cuda" else None


def obstacle(model: nn.Module, recipe: Recipe, loader: TrainingLoader) -> str:
    """Why the steps of a training cannot be repeated as a graph, in one sentence; empty if they can."""
    if distributed.size() > 1:
        return "several processes train together"
    if not isinstance(loader, InMemory):
        return "the images are streamed from files"
    if recipe.adversarial:
        return "adversarial training computes two gradients per step"
    if any(map(_torch.has_hooks, model.modules())):
        return "a module has hooks, which a graph would not call"
    if any(
        isinstance(m, _BatchNorm) and m.track_running_stats and m.momentum is None for m in model.modules()
    ):
        return "a BatchNorm layer averages over all batches (momentum = None)"
    return ""


class StepScalars:
    """The learning rate and lambda of the step, float32[] each, at addresses that do not change.

    Args:
        rates: the learning rate of every step of the training.
        device: of the two tensors.
    """

    def __init__(self, rates: Rates, device: torch.device) -> None:
        self._rates = torch.from_numpy(rates.copy()).float().to(device)
        self._values = torch.zeros(2, device=device)
        self.lr, self.lambda_ = self._values
        self._table = torch.zeros(0)
        self._lambda_of_table: float | None = None

    def set(self, step: int, lambda_: float) -> None:
        """Overwrite both; the host does not wait for the device, unless lambda changes."""
        if lambda_ != self._lambda_of_table:
            self._table = torch.stack([self._rates, torch.full_like(self._rates, lambda_)], dim=1)
            self._lambda_of_table = lambda_
        self._values.copy_(self._table[step])


class GraphStep:
    """Runs a step of training by a graph of it, which is recorded when the first step is due.

    The recording needs some steps to warm up. Their effects are undone, so a training gives the same weights
    bit for bit as with the steps run one by one, also when it is resumed. A step that cannot be recorded, and
    a batch of another shape, are run as they are.

    Args:
        step: the step, given the selection of its batch. All other tensors that it reads and writes stay
            where they are.
        model: the network, whose parameters and buffers the step changes.
        state: the other tensors that the step changes, besides gradients.
        device: where the tensors are.
        capture: the recorder.
    """

    def __init__(
        self,
        step: Callable[[Selection], None],
        model: nn.Module,
        state: Sequence[Tensor],
        *,
        device: torch.device,
        capture: Capture,
    ) -> None:
        self._step, self._device, self._capture = step, device, capture
        self._model, self._state = model, [*model.parameters(), *model.buffers(), *state]
        self._selection: Selection | None = None
        self._replay: Callable[[], None] | None = None
        self._recorded: Hashable = None
        self.failure = ""
        """Why the step could not be recorded; empty if it could, or was not tried yet."""

    def run(self, selection: Selection, version: Hashable = None) -> None:
        """Run the step for a batch.

        Args:
            version: whatever the step's operations depend on; the step is recorded again when it changes.
        """
        if self._selection is None:
            self._selection = selection.clone()
        if self.failure or not selection.fits(self._selection):
            self._step(selection)
            return
        self._selection.copy_(selection)
        if self._replay is None or version != self._recorded:
            self._record(self._selection, version)
        if self._replay is None:
            self._step(selection)
        else:
            self._replay()

    def close(self) -> None:
        """Free the graph and its memory."""
        self._replay = None

    def _record(self, selection: Selection, version: Hashable) -> None:
        self.close()
        python = PythonState.of(self._model)
        with undone(self._state, self._device):
            try:
                self._replay = self._capture(lambda: self._step(selection), self._device)
                self._recorded = version
            except RuntimeError as error:
                # What broke the recording off is the context of what torch says about it at its end.
                self.failure = first_line(error.__context__ or error)
            else:
                self.failure = python.change(PythonState.of(self._model))
        python.restore(self._model)
        if self.failure:
            self.close()
            _log.warning("training without a CUDA graph, which is slower: %s", self.failure)


@contextmanager
def undone(state: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Undo what a block does to tensors, and to torch's random generators on the CPU and on `device`."""
    before = [tensor.detach().clone() for tensor in state]
    cpu = torch.get_rng_state()
    gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        torch.set_rng_state(cpu)
        if gpu is not None:
            torch.cuda.set_rng_state(gpu, device)


def cuda_graph(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record `step` as a CUDA graph, and return the function that launches it.

    Raises:
        RuntimeError: the step makes the host wait for the GPU, or does something else that no graph can hold.
    """
    with torch.cuda.device(device):
        outside, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(outside)
        with torch.cuda.stream(aside):
            for number in range(WARM_UP):
                # Libraries may wait while they start. Later a wait is an error, which is found here without
                # the damage of a recording that breaks off.
                _run_without_waits(step) if number else step()
        outside.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            # Only this thread's calls must fit into a graph: others may upload curves meanwhile.
            with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
                step()
        except RuntimeError:
            torch.cuda.set_stream(outside)  # some versions of torch leave the other stream in use
            _end_capture_of_generator()
            raise
    return graph.replay


def _run_without_waits(step: Callable[[], None]) -> None:
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype, and does not find every wait
        torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _end_capture_of_generator() -> None:
    """Give the GPU's generator a new state object: after a failed recording the old one refuses to draw."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    with suppress(RuntimeError):  # the caller raises what went wrong before
        generator.graphsafe_set_state(generator.clone_state())
