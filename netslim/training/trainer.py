"""The training loop: steps, epochs, checkpoints, and the progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from netslim import sparsity
from netslim.errors import ConfigError, ModelError, TrainingError
from netslim.progress import Bar
from netslim.training import distributed
from netslim.training.checkpoint import Checkpoints
from netslim.training.evaluate import evaluate
from netslim.training.graph_step import capture_for
from netslim.training.history import History
from netslim.training.loaders import TrainingData, loader_for
from netslim.training.loaders.in_memory import Batch, InMemory, Selection
from netslim.training.precision import default_precision
from netslim.training.recipe import Recipe
from netslim.training.sgd import SGD
from netslim.training.signals import Stop
from netslim.training.step_runner import StepRunner
from netslim.training.training_state import BestWeights, CheckpointState, EpochMeter

__all__ = ["Trainer"]

REPORT_EVERY = 0.5
"""Seconds between two updates of the progress bar."""


class Trainer:
    """One training of one model: `resume`, then `fit`.

    Args:
        model: trained in place, on `device`.
        dataset: its splits "train" and, if there is one, "val" are used.
        recipe: how to train.
        seed: of the order, the augmentation and, with several processes, dropout.
        teacher: the network to distil from, in eval mode; used when `recipe.distill` is above 0.
        device: where the model is.
        checkpoints: where to keep checkpoints; None for nowhere.
        checkpoint_every: seconds between two of them.
        history_path: where to write one JSON object per epoch; None for nowhere.
        graphs: whether the steps may run as a CUDA graph, where that is possible.

    Raises:
        ConfigError: the recipe selects by validation, and there is no validation split.
        ModelError: the recipe has the L1 term, and the model has no BatchNorm.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: TrainingData,
        recipe: Recipe,
        *,
        seed: int,
        teacher: nn.Module | None,
        device: torch.device,
        checkpoints: Checkpoints | None = None,
        checkpoint_every: float = 60.0,
        history_path: Path | None = None,
        graphs: bool = True,
    ) -> None:
        self.model, self.info, self.recipe, self.seed = model, dataset.info, recipe, seed
        self.device = device
        self.loader = loader_for(
            dataset,
            batch_size=recipe.batch_size,
            augment=recipe.augment,
            seed=seed,
            device=device,
            by_torch=True if capture_for(device) else None,
        )
        self.rates = recipe.learning_rates(self.loader.steps)
        self.lambda_ = recipe.effective_lambda(self.loader.steps)
        self.gammas = _scaling_factors(model, required=self.lambda_ > 0)
        self.validation = dataset.split("val") if "val" in dataset.info.sizes else None
        if recipe.select == "val" and self.validation is None:
            remedy = "Prepare the dataset with validation images, or select last"
            raise ConfigError("there is no validation split", field="select", value="val", remedy=remedy)
        self.optimizer = SGD(
            model.parameters(),
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )
        self.step = 0
        self.meter, self.best = EpochMeter(device), BestWeights()
        self.runner = StepRunner(
            model,
            self.loader,
            recipe,
            optimizer=self.optimizer,
            gammas=self.gammas,
            rates=self.rates,
            teacher=teacher if recipe.distill else None,
            meter=self.meter,
            device=device,
            graphs=graphs,
        )
        self.state = CheckpointState(model, self.optimizer, self.best, self.meter, device)
        self.checkpoints, self.checkpoint_every = checkpoints, checkpoint_every
        self.saved_step, self.saved_at = 0, time.monotonic()
        self.history_path = history_path if distributed.rank() == 0 else None
        self.history = History(None)

    def resume(self) -> int:
        """Continue from the newest good checkpoint, if there is one; return the step, 0 at the beginning."""
        checkpoint = self.checkpoints.latest() if self.checkpoints else None
        self.history = History(self.history_path, checkpoint.metadata["history"] if checkpoint else [])
        if checkpoint:
            self.state.from_tensors(checkpoint.tensors, checkpoint.metadata["best_error"])
            self.step = checkpoint.step
            if self.recipe.precision == "auto" and self.device.type == "cuda":  # a trial could choose another
                before = checkpoint.metadata.get("precision", default_precision(self.device))  # as in 0.1.0
                self.runner.set_precision(before)
        distributed.assert_equal_on_all_ranks("checkpoint", self.step)
        self.saved_step = self.step
        return self.step

    def fit(self, bar: Bar, stop: Stop, on_epoch: Callable[[dict[str, Any]], None] | None) -> None:
        """Train the remaining steps, and leave the selected weights in the model."""
        self.model.train()
        self.runner.choose_precision(step=self.step, lambda_=self.lambda_)
        with self.runner.products():
            self._remaining_steps(bar, stop, on_epoch)
        self.runner.close()
        if self.checkpoints and self.saved_step < self.step:
            self._save(self.checkpoints)
        if self.best.tensors:
            self.model.load_state_dict(self.best.tensors)

    def units(self, epoch: int, first: int = 0) -> Iterator[Batch | Selection]:
        """What `train_step` takes for each step of an epoch, from step `first` of it on."""
        if isinstance(self.loader, InMemory) and self.loader.by_torch:
            return self.loader.selections(epoch, first)
        return self.loader.epoch(epoch, first)

    def train_step(self, unit: Batch | Selection) -> None:
        """One optimizer step on this process's share of a batch, or on its selection."""
        distributed.seed_rank(self.seed, self.step)
        self.runner.run(unit, self.step, self.lambda_)
        self.step += 1

    def _remaining_steps(
        self, bar: Bar, stop: Stop, on_epoch: Callable[[dict[str, Any]], None] | None
    ) -> None:
        last_reported_step, next_report = 0, 0.0
        flags = distributed.AsyncFlags()
        while self.step < len(self.rates):
            epoch, first = divmod(self.step, self.loader.steps)
            for unit in self.units(epoch, first):
                self.train_step(unit)
                epoch_ends = self.step % self.loader.steps == 0
                if epoch_ends:
                    row = self._end_epoch(epoch)
                    if on_epoch:
                        on_epoch(row)
                if epoch_ends or time.monotonic() >= next_report:
                    bar.advance(self.step - last_reported_step, **self._bar_metrics())
                    last_reported_step, next_report = self.step, time.monotonic() + REPORT_EVERY
                if self.checkpoints:
                    due = time.monotonic() >= self.saved_at + self.checkpoint_every
                    stopping, saving = flags.any(stop.requested, due)
                    if stopping or saving:
                        self._save(self.checkpoints)
                    if stopping:
                        stop.obey()
        flags.last()

    def _end_epoch(self, epoch: int) -> dict[str, Any]:
        """Write the epoch's row, and keep the weights if they are the best on the validation split."""
        loss, error_count = self._finite_sums().tolist()
        self.meter.reset()
        values = {
            "train/loss": loss / self.loader.steps,
            "train/error": 100.0 * error_count / (self.loader.steps * self.loader.batch_size),
            "lr": float(self.rates[epoch * self.loader.steps]),
        }
        if self.gammas:
            shares = sparsity.statistics(self.gammas)
            values["sparsity/zero_share"] = shares.zero_share
            values["sparsity/near_zero_share"] = shares.near_zero_share
        if self.validation is not None:
            values["val/error"] = evaluate(self.model, self.validation, self.info)
            if self.recipe.select == "val":
                self.best.keep_if_better(self.model, values["val/error"])
        return self.history.append(epoch + 1, values)

    def _bar_metrics(self) -> dict[str, float | str]:
        """The values of the last finished epoch that the progress bar shows."""
        if not self.history.rows:
            return {}
        row = self.history.rows[-1]
        metrics: dict[str, float | str] = {"loss": row["train/loss"], "train error": row["train/error"]}
        if self.lambda_:
            metrics["factors at zero"] = f"{100 * row['sparsity/near_zero_share']:.0f} %"
        return metrics

    def _finite_sums(self) -> Tensor:
        """The epoch's sums over all processes; a TrainingError if the loss or a weight is not finite."""
        sums = self.meter.all_processes()
        weights = get_total_norm([parameter.detach() for parameter in self.optimizer.parameters])
        if bool(sums.isfinite().all() & weights.isfinite()):
            return sums
        step = self.step - 1
        last = self.checkpoints.last if self.checkpoints else None
        raise TrainingError(
            f"became NaN or infinite in epoch {step // self.loader.steps + 1} of {self.recipe.epochs} "
            f"(lr = {self.rates[step]:.3g}, lambda = {self.lambda_:.3g}); "
            f"the last good checkpoint is {last or 'none, as none was written'}",
            field="loss",
            remedy="Lower lr or lambda, or start from other weights",
        )

    def _save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint, on rank 0; every process must call this."""
        sums = self._finite_sums()
        self.saved_at, self.saved_step = time.monotonic(), self.step
        if distributed.rank() != 0:
            return
        best_error = self.best.error if self.best.tensors else None
        metadata = {
            "history": self.history.rows,
            "best_error": best_error,
            "precision": self.runner.precision,
        }
        checkpoints.save(self.step, self.state.to_tensors(sums), metadata)
        self.saved_at = time.monotonic()


def _scaling_factors(model: nn.Module, *, required: bool) -> list[nn.Parameter]:
    try:
        return [factor for _, factor in sparsity.scaling_factors(model)]
    except ModelError:
        if required:
            raise
        return []
