"""Short trainings for the checks: networks, recipes, and the reasons that the log has."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.gpu.common import SMOKE, device, network
from benchmarks.paper.datasets import Dataset
from netslim.training.recipe import Recipe
from netslim.training.train import TrainResult, train

SMALL: Mapping[str, dict[str, Any]] = {
    "vgg11-small": {"width": 0.125 if SMOKE else 0.25},
    "resnet164": {"depth": 11},
    "densenet40": {"depth": 10},
}
MIXED = "fp32" if SMOKE else "bf16"
"""CPUs without bfloat16 need seconds for a step with it."""


def recipe(**changes: Any) -> Recipe:
    return Recipe(
        **({"epochs": 3, "batch_size": 32 if SMOKE else 64, "lr": 0.05, "precision": "fp32"} | changes)
    )


@contextmanager
def log_of_graphs() -> Iterator[list[str]]:
    """The reasons that the log has for steps without a graph."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler, log = Handler(), logging.getLogger("netslim.training")
    log.addHandler(handler)
    try:
        yield messages
    finally:
        log.removeHandler(handler)


class WithDropout(nn.Module):
    """A network whose training needs the GPU's random numbers; and, if asked for, does what no graph can."""

    def __init__(self, inner: nn.Module, odd: str = "") -> None:
        super().__init__()
        self.dropout, self.inner, self.odd = nn.Dropout(0.1), inner, odd

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.inner(self.dropout(images))
        if self.training and self.odd == "reads" and outputs.mean().item() > 1e9:
            return outputs * 0
        if self.training and self.odd == "waits" and images.is_cuda:
            torch.cuda.synchronize()  # torch's watch for waits does not see it: the recording breaks off
        if self.training and self.odd == "draws":
            return outputs * (1 + random.random() / 100)
        return outputs


def run(
    data: Dataset, settings: Recipe, name: str = "vgg11-small", *, odd: str = "", **how: Any
) -> tuple[nn.Module, TrainResult, list[str]]:
    model = WithDropout(network(name, data.info, **SMALL[name]), odd)
    teacher = network(name, data.info, seed=9, **SMALL[name]) if settings.distill else None
    with log_of_graphs() as reasons:
        result = train(model, cast(Any, data), settings, seed=3, teacher=teacher, device=device(), **how)
    return model, result, reasons


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name].cpu(), theirs[name].cpu()) for name in ours)
