"""One network through the paper's Table 1 on CIFAR-10, as many epochs as fit before a deadline.

    python -m benchmarks.gpu.table1 NETWORK SECONDS DATA

Baseline, sparse training, pruning at the paper's percentages, fine-tuning. The paper trains for 160 epochs at
batch size 64; here the number of epochs follows from the time, and the batch size is 256. lambda is given as
the total shrinkage, which means the same in a short training. DATA holds CIFAR-10 in a form that
benchmarks.paper takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import netslim
from benchmarks.gpu.common import SMOKE, Rows, device, graphs_on_a_cpu, network, toy
from benchmarks.paper.datasets import Dataset, find
from netslim.sparsity import ZERO_GAMMA
from netslim.training import presets
from netslim.training.evaluate import evaluate
from netslim.training.loaders import loader_for
from netslim.training.train import train

OVERHEAD = 0.5 if SMOKE else 3.0
"""Seconds of a stage beside its epochs: images on their way to the GPU, recording, the test images."""


@dataclass(frozen=True)
class Job:
    """One network of the table."""

    network: str
    total_shrinkage: float
    """For VGG half of the paper's 6.6, which short trainings do not stand; for the others the paper's."""
    percents: tuple[float, ...]
    arguments: Mapping[str, Any]


JOBS = {
    "vgg19": Job("vgg11-small" if SMOKE else "vgg19", 3.3, (0.7,), {"width": 0.125} if SMOKE else {}),
    "densenet40": Job("densenet40", 0.66, (0.7, 0.4), {}),
    "resnet164": Job("resnet164", 0.66, (0.6, 0.4), {}),
}


class Clock:
    """Divides the time that is left evenly between the stages that are left.

    Args:
        rows: has the deadline.
        stages: how many trainings there will be.
    """

    def __init__(self, rows: Rows, stages: int) -> None:
        self.rows, self.stages, self.seconds_per_epoch = rows, stages, 0.0

    def epochs(self) -> int:
        """The epochs of the next training; 0 if there is no time for one."""
        share = self.rows.left / self.stages - OVERHEAD
        self.stages -= 1
        if SMOKE:
            return 1
        if not self.seconds_per_epoch:  # of the very first training nothing is known
            return 2
        return max(0, min(160, int(0.95 * share / self.seconds_per_epoch)))


def trained(
    rows: Rows,
    clock: Clock,
    data: Dataset,
    model: nn.Module,
    stage: str,
    changes: dict[str, Any],
    **known: Any,
) -> float | None:
    """Train one stage, and write its row; its test error, None if there was no time."""
    epochs = clock.epochs()
    if epochs < 1:
        rows.write(what=stage, **known, skipped="the time is up")
        return None
    rate = {"base": 0.2, "sparse": 0.2, "fine_tune": 0.1}[stage]
    settings = {"epochs": epochs, "batch_size": 32 if SMOKE else 256, "schedule": "cosine", "lr": rate}
    settings |= {"weight_decay": 5e-4, "precision": "fp32" if SMOKE else "auto"}
    times = [time.perf_counter()]
    result = train(
        model,
        cast(Any, data),
        presets.stage("cifar", stage, settings | changes),
        seed=0,
        device=device(),
        on_epoch=lambda row: times.append(time.perf_counter()),
    )
    # Without the first epoch, which has the recording in it, if there are others.
    clock.seconds_per_epoch = (times[-1] - times[min(1, epochs - 1)]) / max(1, epochs - 1)
    cost = netslim.count(model, torch.zeros(1, 3, 32, 32))
    rows.write(
        what=stage,
        **known,
        error=round(result.error, 2),
        epochs=epochs,
        **{"s per epoch": round(clock.seconds_per_epoch, 3), "precision": result.precision},
        params=cost.params,
        flops=cost.flops,
        **({"near zero": round(result.sparsity.near_zero_share, 3)} if result.sparsity else {}),
    )
    return result.error


def pruned(rows: Rows, data: Dataset, model: nn.Module, percent: float) -> nn.Module:
    """Prune as the pipeline does: new statistics where a living channel was removed."""
    result = netslim.prune(model, torch.zeros(1, 3, 32, 32), percent=percent)
    slim = result.model.to(device())
    if result.threshold >= ZERO_GAMMA:
        batches = loader_for(
            data, batch_size=min(250, len(data.split("train"))), seed=0, device=device()
        ).epoch(0)
        netslim.recalibrate(slim, (images for images, _ in islice(batches, 8)))
    error = evaluate(slim, data.split("test"), data.info)
    rows.write(
        what="pruned",
        percent=percent,
        error=round(error, 2),
        params=result.after.params,
        flops=result.after.flops,
        **{
            "params pruned %": round(100 * (1 - result.after.params / result.before.params), 1),
            "FLOPs pruned %": round(100 * (1 - result.after.flops / result.before.flops), 1),
        },
    )
    return slim.cpu()


def main(name: str, seconds: float, root: Path) -> None:
    rows, job = Rows(f"table1-{name}", seconds), JOBS[name]
    work = Path(os.environ.get("NETSLIM_GPU_WORK") or tempfile.mkdtemp())
    data = toy(128) if SMOKE else find("cifar10", root, work)
    clock = Clock(rows, 3 + len(job.percents))

    def fresh() -> nn.Module:
        return network(job.network, data.info, **job.arguments)

    with graphs_on_a_cpu():
        trained(rows, clock, data, fresh(), "base", {}, note="only to learn the time of an epoch")
        trained(rows, clock, data, fresh(), "base", {})
        model = fresh()
        sparse = {"lambda": 0.0, "total_shrinkage": job.total_shrinkage}
        if trained(rows, clock, data, model, "sparse", sparse) is None:
            return
        for percent in job.percents:
            slim = pruned(rows, data, model, percent)
            trained(rows, clock, data, slim, "fine_tune", {}, percent=percent)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
