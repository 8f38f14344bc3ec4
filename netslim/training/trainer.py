"""The training loop itself: where it stands, one step, the end of an epoch, and taking up a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netslim import sparsity
from netslim.errors import ConfigError, ModelError, TrainingError
from netslim.progress import Bar
from netslim.training import distributed
from netslim.training.adversarial import adversarial_examples
from netslim.training.checkpoint import Checkpoint, Checkpoints
from netslim.training.device import autocast_dtype
from netslim.training.evaluate import evaluate
from netslim.training.history import History
from netslim.training.loaders.in_memory import InMemory
from netslim.training.loaders.streaming import Streamed
from netslim.training.loss import logits_of, training_loss
from netslim.training.recipe import Recipe
from netslim.training.sgd import SGD
from netslim.training.signals import Stop

if TYPE_CHECKING:
    from netslim.data import PackedDataset

__all__ = ["Run"]

LOOK = 0.5
"""Seconds between two looks at the world outside the loop: the progress bar."""


class Run:
    """One training: its model and optimizer, and how far it has come, which is what a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        dataset: PackedDataset,
        recipe: Recipe,
        *,
        seed: int,
        teacher: nn.Module | None,
        device: torch.device,
    ) -> None:
        self.model, self.info, self.recipe, self.device = model, dataset.info, recipe, device
        self.teacher = teacher if recipe.distill else None
        self.forward = distributed.parallel(model)
        source = Streamed if dataset.info.mode == "folder" else InMemory
        self.batches = source(
            dataset.split("train"),
            dataset.info,
            batch_size=recipe.batch_size,
            augment=recipe.augment,
            seed=seed,
            device=device,
        )
        # A loss is the mean over this process's part of a batch; weighted so, they add up to the batch's.
        mine = self.batches.part
        self.share = (mine.stop - mine.start) / self.batches.batch_size
        weight = distributed.size() * self.share  # as `forward` averages the processes' gradients
        self.weight = torch.tensor(weight, device=device)
        self.seed = seed
        self.rates = recipe.learning_rates(self.batches.steps)
        self.lam = recipe.strength(self.batches.steps)
        self.factors = _factors(model, required=self.lam > 0)
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
        dtype = autocast_dtype(recipe.precision, device)
        self.autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
        self.step = 0
        # Loss and wrong answers of this process, summed since the epoch began. They stay on the device:
        # reading them at every step would make the host wait for it.
        self.totals = torch.zeros(2, dtype=torch.float64, device=device)
        self.loss, self.wrong = self.totals
        self.best_error = math.inf
        self.best: dict[str, Tensor] = {}

    def resume(self, checkpoints: Checkpoints | None, history_path: Path | None, every: float) -> int:
        """Take up the newest good checkpoint, if any; the step at which this run now stands."""
        self.checkpoints, self.every, self.saved_at = checkpoints, every, time.monotonic()
        found = checkpoints.latest() if checkpoints else None
        writes = history_path if distributed.rank() == 0 else None
        self.history = History(writes, found.facts["history"] if found else [])
        if found:
            self._restore(found)
        distributed.assert_equal_on_all_ranks("checkpoint", self.step)
        self.saved_step = self.step
        return self.step

    def to_the_end(self, bar: Bar, stop: Stop, on_epoch: Callable[[dict[str, Any]], None] | None) -> None:
        """Train what is left, and leave the selected weights in the model."""
        told, next_look, agreement = 0, 0.0, distributed.AsyncFlags()
        self.model.train()
        while self.step < len(self.rates):
            epoch, first = divmod(self.step, self.batches.steps)
            for images, labels in self.batches.epoch(epoch, first):
                self.advance(images, labels)
                ended = self.step % self.batches.steps == 0
                if ended:
                    row = self._end_epoch(epoch)
                    if on_epoch:
                        on_epoch(row)
                if ended or time.monotonic() >= next_look:
                    last = self.history.rows[-1] if self.history.rows else {}
                    facts = {key: last[f"train/{key}"] for key in ("loss", "error") if last}
                    bar.advance(self.step - told, **facts)
                    told, next_look = self.step, time.monotonic() + LOOK
                if self.checkpoints:
                    due = time.monotonic() >= self.saved_at + self.every
                    stopping, saving = agreement.any(stop.requested, due)
                    if stopping or saving:
                        self._save()
                    if stopping:
                        stop.obey()
        agreement.last()
        if self.checkpoints and self.saved_step < self.step:
            self._save()
        if self.best:
            self.model.load_state_dict(self.best)

    def advance(self, images: Tensor, labels: Tensor) -> None:
        """One optimizer step on one batch."""
        recipe, lr = self.recipe, float(self.rates[self.step])
        self.optimizer.zero_grad()
        distributed.seed_rank(self.seed, self.step)
        with self.autocast:
            if recipe.adversarial:
                images = adversarial_examples(self.model, images, labels, recipe, self.weight)
            taught = None
            if self.teacher is not None:
                with torch.no_grad():
                    taught = logits_of(self.teacher(images))
            outputs = self.forward(images)
            loss = training_loss(outputs, labels, taught, recipe)
        loss.backward(self.weight)  # type: ignore[no-untyped-call]
        if self.lam and recipe.penalty == "l1":
            sparsity.add_l1_subgradient(self.factors, self.lam)
        elif self.lam and recipe.penalty == "smooth-l1":
            sparsity.add_smooth_l1(self.factors, self.lam)
        self.optimizer.step(lr)
        if self.lam and recipe.penalty == "proximal":
            sparsity.apply_proximal(self.factors, self.lam, lr, recipe.momentum)
        self.loss.add_(loss.detach(), alpha=self.share)
        self.wrong.add_((logits_of(outputs).detach().argmax(1) != labels).sum())
        self.step += 1

    def _end_epoch(self, epoch: int) -> dict[str, Any]:
        """Write the epoch's row, and keep the weights if they are the best on the validation split."""
        loss, wrong = self._check_finite().tolist()
        self.totals.zero_()
        values = {
            "train/loss": loss / self.batches.steps,
            "train/error": 100.0 * wrong / (self.batches.steps * self.batches.batch_size),
            "lr": float(self.rates[epoch * self.batches.steps]),
        }
        if self.factors:
            found = sparsity.statistics(self.factors)
            values["sparsity/zero_share"] = found.zero_share
            values["sparsity/near_zero_share"] = found.near_zero_share
        if self.validation is not None:
            values["val/error"] = evaluate(self.model, self.validation, self.info)
            if self.recipe.select == "val" and values["val/error"] < self.best_error:
                self.best_error = values["val/error"]
                self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return self.history.append(epoch + 1, values)

    def _check_finite(self) -> Tensor:
        """The totals of all processes; a TrainingError if training has diverged."""
        totals = distributed.all_reduce_sum(self.totals.clone())
        norms = torch.stack(
            torch._foreach_norm([parameter.detach() for parameter in self.optimizer.parameters])
        )
        if bool(totals.isfinite().all() & norms.isfinite().all()):
            return totals
        step = self.step - 1
        kept = self.checkpoints.last if self.checkpoints else None
        raise TrainingError(
            f"became NaN or infinite in epoch {step // self.batches.steps + 1} of {self.recipe.epochs} "
            f"(lr = {self.rates[step]:.3g}, lam = {self.lam:.3g}); "
            f"the last good checkpoint is {kept or 'none, as nothing was kept'}",
            field="loss",
            remedy="Lower lr or lam, or begin from other weights",
        )

    def _save(self) -> None:
        assert self.checkpoints is not None
        totals = self._check_finite()
        self.saved_at, self.saved_step = time.monotonic(), self.step
        if distributed.rank() != 0:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"velocity.{index}": speed for index, speed in enumerate(self.optimizer.velocity)}
        tensors["totals"] = totals
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        best_error = self.best_error if self.best else None
        self.checkpoints.save(self.step, tensors, {"history": self.history.rows, "best_error": best_error})
        self.saved_at = time.monotonic()

    def _restore(self, found: Checkpoint) -> None:
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "velocity": {}, "random": {}}
        for name, tensor in found.tensors.items():
            group, _, rest = name.partition(".")
            if rest:
                groups[group][rest] = tensor
        self.model.load_state_dict(groups["model"])
        self.best = {name: tensor.to(self.device) for name, tensor in groups["best"].items()}
        self.best_error = found.facts["best_error"] if self.best else math.inf
        for index, speed in groups["velocity"].items():
            self.optimizer.velocity[int(index)].copy_(speed)
        if distributed.rank() == 0:
            self.totals.copy_(found.tensors["totals"])
        torch.set_rng_state(groups["random"]["cpu"])
        if self.device.type == "cuda" and "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"], self.device)
        self.step = found.step


def _factors(model: nn.Module, *, required: bool) -> list[nn.Parameter]:
    try:
        return [factor for _, factor in sparsity.scaling_factors(model)]
    except ModelError:
        if required:
            raise
        return []
