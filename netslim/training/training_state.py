"""The state of a training beside the model's weights, and its form in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netslim.training import distributed
from netslim.training.sgd import SGD

__all__ = ["BestWeights", "CheckpointState", "EpochMeter"]


class EpochMeter:
    """Loss and number of errors of this process, summed since the epoch began.

    The sums stay on the device: reading them at every step would make the host wait for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.epoch_sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._loss, self._error_count = self.epoch_sums

    def add(self, loss: Tensor, error_count: Tensor, batch_fraction: float) -> None:
        """Add one step: the mean loss over this process's share of the batch, and its errors."""
        self._loss.add_(loss, alpha=batch_fraction)
        self._error_count.add_(error_count)

    def all_processes(self) -> Tensor:
        """The two sums over all processes, float64[2]. Every process must call this."""
        return distributed.all_reduce_sum(self.epoch_sums.clone())

    def reset(self) -> None:
        self.epoch_sums.zero_()


@dataclass
class BestWeights:
    """The weights with the lowest validation error so far, for recipes that select by validation."""

    error: float = math.inf
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def keep_if_better(self, model: nn.Module, error: float) -> None:
        if error < self.error:
            self.error = error
            self.tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}


@dataclass(frozen=True)
class CheckpointState:
    """The parts of a training that a checkpoint holds as tensors.

    Names in the file: `model.*` and `best.*` by the names of the state dict, `velocity.<n>` for the momentum
    of the n-th parameter, `totals` for the sums of the epoch, `random.cpu` and `random.cuda` for torch's
    generators.
    """

    model: nn.Module
    optimizer: SGD
    best: BestWeights
    meter: EpochMeter
    device: torch.device

    def to_tensors(self, epoch_sums: Tensor) -> dict[str, Tensor]:
        """The tensors by name; `epoch_sums` are those of all processes, as rank 0 alone writes."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.tensors.items()}
        tensors |= {f"velocity.{index}": speed for index, speed in enumerate(self.optimizer.velocity)}
        tensors["totals"] = epoch_sums
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def from_tensors(self, tensors: Mapping[str, Tensor], best_error: float | None) -> None:
        """Set everything to what `to_tensors` returned, in place; torch's generators as well.

        Args:
            best_error: the error of the best weights; None if there are none.
        """
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "velocity": {}, "random": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition(".")
            if rest:
                groups[group][rest] = tensor
        self.model.load_state_dict(groups["model"])
        self.best.tensors = {name: tensor.to(self.device) for name, tensor in groups["best"].items()}
        self.best.error = math.inf if best_error is None else best_error
        for index, speed in groups["velocity"].items():
            self.optimizer.velocity[int(index)].copy_(speed)
        if distributed.rank() == 0:  # the sums are of all processes: the others continue from zero
            self.meter.epoch_sums.copy_(tensors["totals"])
        torch.set_rng_state(groups["random"]["cpu"])
        if self.device.type == "cuda" and "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"], self.device)
