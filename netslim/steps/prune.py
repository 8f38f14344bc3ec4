"""Step prune: rank, cut, compensate, and measure what is left before any fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import netslim
from netslim import data, progress
from netslim.models import artifact
from netslim.sparsity import NEAR_ZERO
from netslim.steps.step_record import StepRecord, read_step_records, to_json_files
from netslim.training.device import keep_freed_memory
from netslim.training.evaluate import evaluate
from netslim.training.loaders.in_memory import InMemory
from netslim.training.loaders.streaming import Streamed

if TYPE_CHECKING:
    from torch import Tensor

    from netslim.data import PackedDataset
    from netslim.pruning.groups import Policy
    from netslim.pruning.pruner import PruneResult
    from netslim.pruning.ranking import Scope

__all__ = ["prune_step"]

RECALIBRATE_ON = 2000  # training images, enough for stable batch statistics


def prune_step(
    dataset: str | os.PathLike[str],
    start: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    percent: str,
    target: Mapping[str, float],
    scope: str,
    policy: str,
    max_layer_percent: float,
    min_channels: int,
    channel_multiple: int,
    compensate: bool,
    pass_index: int,
) -> dict[str, float]:
    """Prune the model artifact `start` and write the narrower model with its evidence.

    `percent` is a number or `dead`; it is ignored when `target` names a budget.

    Returns:
        The evidence's plain numbers.
    """
    import torch

    keep_freed_memory()
    packed = data.open_dataset(dataset)
    wide = artifact.load_model(start)
    example = torch.zeros(1, packed.info.channels, *packed.info.image_size)
    with progress.bar("pruning", 3) as bar:
        result = netslim.prune(
            wide.model,
            example,
            percent=None if target else "dead" if percent == "dead" else float(percent),
            target=dict(target) or None,
            policy=cast("Policy", policy),  # prune refuses other words
            min_channels=min_channels,
            max_layer_percent=max_layer_percent,
            channel_multiple=channel_multiple,
            scope=cast("Scope", scope),
            compensate=compensate,
        )
        print(result.report, flush=True)
        bar.advance(channels=result.after.channels)
        # Folding is exact for channels at zero, and new statistics would only add noise to them. Once a live
        # channel went, the statistics of what follows it are stale.
        recalibrate = compensate and result.threshold >= NEAR_ZERO
        if recalibrate:
            netslim.recalibrate(result.model, _training_images(packed))
        bar.advance()
        error = evaluate(result.model, packed.split("test"), packed.info)
        bar.advance(error=error)
    settings = {"percent": percent, "target": dict(target), "scope": scope, "policy": policy}
    facts = {"settings": settings, "recalibrated": recalibrate, **_facts(result, error)}
    testimony = StepRecord(facts)
    beside = to_json_files({**read_step_records(start), "prune": testimony})
    artifact.save_model(model, result.model, wide.architecture, wide.plan.then(result.plan), beside=beside)
    return testimony.numbers()


def _training_images(packed: PackedDataset) -> Iterator[Tensor]:
    """`RECALIBRATE_ON` training images as training sees them, or all there are.

    Shuffled, for an image folder comes class by class; augmented, for the statistics that they replace are
    of augmented images (CIFAR-10 after pruning dead channels: 26.3 % error, 27.2 on plain images, 26.2 so).
    """
    source = Streamed if packed.info.mode == "folder" else InMemory
    size = packed.info.batch_of(2**21, least=8, most=250)
    batches = source(packed.split("train"), packed.info, batch_size=size, seed=0).epoch(0)
    return (images for images, _ in islice(batches, RECALIBRATE_ON // size))


def _facts(result: PruneResult, error: float) -> dict[str, Any]:
    before, after = result.before, result.after
    return {
        "error_pruned": error,
        "threshold": result.threshold,
        "channels_before": before.channels,
        "params_before": before.params,
        "macs_before": before.macs,
        "channels": after.channels,
        "params": after.params,
        "macs": after.macs,
        "plan_digest": result.plan.digest,
        "report": result.report.to_json(),
    }
