"""Runs the steps of one training: in its precision, and as a CUDA graph where that is possible."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn

from netslim.training import distributed, graph_step
from netslim.training.graph_step import GraphStep, StepScalars, undone
from netslim.training.loaders import TrainingLoader
from netslim.training.loaders.in_memory import Batch, InMemory, Selection
from netslim.training.lr_schedule import Rates
from netslim.training.precision import autocast_dtype, default_precision, fastest, float32_products
from netslim.training.recipe import Recipe
from netslim.training.sgd import SGD
from netslim.training.train_step import train_step
from netslim.training.training_state import EpochMeter

__all__ = ["StepRunner"]

TRIAL_STEPS = 20
TRIAL_PAYS = 1000
"""The number of steps from which on a trial of precisions pays: it takes about 50, and two recordings."""

_log = logging.getLogger(__name__)


class StepRunner:
    """The steps of one training of one model.

    Args:
        model: in train mode, on `device`.
        loader: of the training's batches. If torch makes its batches, they are given as selections.
        recipe: how to train.
        optimizer: of the model's parameters.
        gammas: the model's scaling factors.
        rates: the learning rate of every step.
        teacher: the network to distil from, in eval mode; None without distillation.
        meter: gets the loss and the errors of each step.
        device: where all of them are.
        graphs: whether a CUDA graph may be used.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: TrainingLoader,
        recipe: Recipe,
        *,
        optimizer: SGD,
        gammas: Sequence[nn.Parameter],
        rates: Rates,
        teacher: nn.Module | None,
        meter: EpochMeter,
        device: torch.device,
        graphs: bool,
    ) -> None:
        self.loader, self.recipe, self.optimizer, self.gammas = loader, recipe, optimizer, gammas
        self.rates, self.teacher, self.meter, self.device = rates, teacher, meter, device
        self.parallel_model = distributed.parallel(model)
        # The loss is a mean over this process's share of the batch; weighted so, the shares' losses add up.
        shard = loader.shard
        self.batch_fraction = (shard.stop - shard.start) / loader.batch_size
        weight = distributed.size() * self.batch_fraction  # `parallel_model` averages over the processes
        # None for 1: to check a given weight, torch imports sympy, which takes 0.3 s.
        self.loss_weight = None if weight == 1 else torch.tensor(weight, device=device)
        self.trial = dict[str, float]()
        self.set_precision(recipe.precision)
        self.by_selection = isinstance(loader, InMemory) and loader.by_torch
        # A GPU reads them from tensors with and without a graph, so that both compute the same bits.
        on_gpu = device.type != "cpu" or self.by_selection
        self._scalars = StepScalars(rates, device) if on_gpu else None
        self._state = [*model.parameters(), *model.buffers(), *optimizer.velocity, meter.epoch_sums]
        self._step, self._lambda = 0, 0.0
        self._graph: GraphStep | None = None
        if (capture := graph_step.capture_for(device)) and graphs:
            if reason := graph_step.obstacle(model, recipe, loader):
                _log.warning("training without a CUDA graph, which is slower: %s", reason)
            else:
                self._graph = GraphStep(self._compute, model, self._state, device=device, capture=capture)

    def run(self, unit: Batch | Selection, step: int, lambda_: float) -> None:
        """One optimizer step on this process's share of a batch; its loss and errors go to the meter.

        Args:
            unit: the share, or its selection.
            step: the number of the step, from 0.
            lambda_: the weight of the L1 term in this step.
        """
        self._step, self._lambda = step, lambda_
        if self._scalars is not None:
            self._scalars.set(step, lambda_)
        if self._graph is not None and isinstance(unit, Selection):
            self._graph.run(unit, (self.precision, self.recipe.penalty, lambda_ != 0))
        else:
            self._compute(unit)

    def products(self) -> AbstractContextManager[None]:
        """A block in which float32 tensors are multiplied as the precision says."""
        if self.precision == "bf16":
            return nullcontext()
        return float32_products(self.device, tf32=self.precision == "tf32")

    def set_precision(self, precision: str) -> None:
        """Take a precision from the next step on, one of `netslim.training.recipe.PRECISIONS`."""
        dtype = autocast_dtype(precision, self.device)
        self.precision = precision
        self._autocast = torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def choose_precision(self, *, step: int, lambda_: float) -> None:
        """Replace `auto` by the precision that is faster on a GPU, of bf16 and TF32, before step `step`.

        The trial changes nothing but the time. There is none for a training that is short, that must give the
        same bits each time, or that has several processes or streamed images: those take bf16 where the
        hardware has it.
        """
        if self.precision != "auto":
            return
        self.set_precision(default_precision(self.device))
        same_bits = torch.are_deterministic_algorithms_enabled() or distributed.size() > 1
        long = len(self.rates) - step >= TRIAL_PAYS
        if self.precision == "bf16" and self.by_selection and long and not same_bits:
            with undone(self._state, self.device):
                precision, spent = fastest(
                    {name: partial(self._seconds, name, step, lambda_) for name in ("bf16", "tf32")}
                )
            self.set_precision(precision)
            self.trial = {name: 1000 * each / TRIAL_STEPS for name, each in spent.items()}
            times = ", ".join(f"{name} {each:.3g} ms" for name, each in self.trial.items())
            _log.info("precision auto is %s; a step takes: %s", precision, times)

    def close(self) -> None:
        """Free the graph and its memory."""
        if self._graph is not None:
            self._graph.close()

    def _seconds(self, precision: str, step: int, lambda_: float) -> float:
        """The time of some steps with a precision."""
        assert isinstance(self.loader, InMemory)
        selection = next(self.loader.selections(*divmod(step, self.loader.steps)))
        self.set_precision(precision)
        with self.products():
            self.run(selection, step, lambda_)  # records the step
            begun = self._clock()
            for _ in range(TRIAL_STEPS):
                self.run(selection, step, lambda_)
            return self._clock() - begun

    def _clock(self) -> float:
        """Seconds, when the device has done all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _compute(self, unit: Batch | Selection) -> None:
        """The step itself, which a CUDA graph may record: no number in here may differ between steps."""
        if isinstance(unit, Selection):
            assert isinstance(self.loader, InMemory)
            batch = self.loader.batch(unit)
        else:
            batch = unit
        loss, error_count = train_step(
            self.parallel_model,
            batch,
            self.recipe,
            self.optimizer,
            self.gammas,
            self._lambda if self._scalars is None or self._lambda == 0 else self._scalars.lambda_,
            lr=float(self.rates[self._step]) if self._scalars is None else self._scalars.lr,
            teacher=self.teacher,
            loss_weight=self.loss_weight,
            autocast=self._autocast,
        )
        self.meter.add(loss, error_count, self.batch_fraction)
