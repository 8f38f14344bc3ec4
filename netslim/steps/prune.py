"""Step prune: remove the lowest-ranked channels, and measure the error before any fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import netslim
from netslim import data, progress
from netslim.models import artifact
from netslim.results.measures import Size
from netslim.sparsity import ZERO_GAMMA
from netslim.steps.step_metrics import PruneMetrics
from netslim.steps.step_record import StepRecord, read_step_records
from netslim.training.device import best_device, keep_freed_memory, model_on_device
from netslim.training.evaluate import evaluate
from netslim.training.loaders import loader_for
from netslim.training.precision import float32_products

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from netslim.cost import Cost
    from netslim.data import PackedDataset
    from netslim.pruning.options import PruningOptions

__all__ = ["prune_step"]

RECALIBRATE_ON = 2000  # training images, enough for stable batch statistics


def prune_step(
    dataset: str | os.PathLike[str],
    start: str | os.PathLike[str],
    model: str | os.PathLike[str],
    options: PruningOptions,
    *,
    architecture: str = "",
) -> PruneMetrics:
    """Prune the model artifact `start`, and write the slim network with its step records to `model`.

    Args:
        dataset: a packed dataset, to recalibrate BatchNorm on and to measure the error.
        options: how much is pruned, and within which limits.
        architecture: the run's network. If it is package.module:factory, that code may be run.

    Raises:
        ConfigError: the budget in `options` cannot be met.
        ModelError: the network cannot be traced, or is made by code that is not `architecture`.
    """
    import torch

    keep_freed_memory()
    packed = data.open_dataset(dataset)
    wide = artifact.load_model(start, allow_factory=architecture)
    example = torch.zeros(1, packed.info.channels, *packed.info.image_size)
    with progress.bar("pruning", 3) as bar:
        result = netslim.prune(wide.model, example, options, verify=True)
        print(result.report, flush=True)
        bar.advance(channels=result.after.channels)
        # Compensation is exact for channels at zero, where new statistics would only add noise. Once a live
        # channel is removed, the statistics of the layers behind it are out of date.
        recalibrated = options.compensate and result.threshold >= ZERO_GAMMA
        device = best_device()
        # Channels are chosen and sliced on the CPU, in a moment and alike everywhere; images pass on the GPU.
        with model_on_device(result.model, device) if device.type == "cuda" else nullcontext():
            if recalibrated:
                with float32_products(device, tf32=False):
                    netslim.recalibrate(result.model, _training_images(packed, device))
            bar.advance()
            error = evaluate(result.model, packed.split("test"), packed.info)
        bar.advance(1, **{"test error": error})
    metrics = PruneMetrics(
        settings=options.to_inputs(),
        recalibrated=recalibrated,
        error=error,
        threshold=result.threshold,
        before=_size(result.before),
        after=_size(result.after),
        plan_digest=result.plan.digest,
        report=result.report,
    )
    records = replace(read_step_records(start), prune=StepRecord(metrics))
    plan = wide.plan.then(result.plan)
    artifact.save_model(model, result.model, wide.architecture, plan, beside=records.to_json_files())
    return metrics


def _training_images(packed: PackedDataset, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """Batches of `RECALIBRATE_ON` training images, shuffled and augmented, or of all if there are fewer.

    Shuffled, because an image folder is ordered by class. Augmented, because the statistics that they replace
    are those of augmented images (CIFAR-10 after pruning dead channels: 26.3 % error; 27.2 with statistics of
    plain images, 26.2 with statistics of augmented images).
    """
    size = packed.info.batch_of(2**21, least=8, most=250)
    batches = loader_for(packed, batch_size=size, seed=0, device=device).epoch(0)
    return (images for images, _ in islice(batches, RECALIBRATE_ON // size))


def _size(cost: Cost) -> Size:
    return Size(channels=cost.channels, params=cost.params, macs=cost.macs)
