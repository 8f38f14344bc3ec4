"""Normal training, training with sparsity, and fine-tuning (paper, section 4.3): one function for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from netslim import progress, sparsity
from netslim.errors import ConfigError
from netslim.training import distributed
from netslim.training.checkpoint import Checkpoints, weights_digest
from netslim.training.device import best_device, cpu_threads, model_on_device
from netslim.training.evaluate import evaluate
from netslim.training.recipe import Recipe
from netslim.training.signals import Stop, stop_on_sigterm
from netslim.training.sync_batchnorm import synchronised
from netslim.training.trainer import Run

if TYPE_CHECKING:
    from netslim.data import PackedDataset

__all__ = ["TrainResult", "evaluate", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training came to; the trained weights are in the model that was given."""

    history: tuple[dict[str, Any], ...]
    """One row per epoch, as in history.jsonl."""
    error: float
    """Error on the test split, in percent."""
    lam: float
    """The lambda that was used, also where the recipe gave a pull."""
    sparsity: sparsity.SparsityStats | None
    """The scaling factors at the end; None for a model without BatchNorm."""
    resumed_at: int
    """The optimizer step at which this call took a checkpoint up, 0 if it started from the beginning."""
    refused: tuple[str, ...]
    """Checkpoints found but not taken, each with its reason."""


def train(
    model: nn.Module,
    dataset: PackedDataset,
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    history_path: Path | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: float = 60.0,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    device: torch.device | str | None = None,
    title: str = "training",
) -> TrainResult:
    """Train `model` in place on the training split.

    Afterwards the model is on the device and in the train or eval mode in which it came; only its
    parameters and buffers have changed. Torch's random numbers outside are not disturbed. On a CPU with the
    same number of threads the result is a function of the starting weights, the data, the recipe and the
    seed, bit for bit, also when the training was killed and resumed any number of times.

    Within `netslim.training.distributed.joined` every process calls this with the same arguments; together
    they compute what one computes, up to rounding and to what dropout draws. Rank 0 alone writes.

    Args:
        model: returns logits [batch, classes] for float32 images [batch, channels, height, width]; in train
            mode a tuple of main and auxiliary logits too.
        dataset: a packed dataset; its test split is looked at once, at the end.
        recipe: how to train.
        seed: of the order, the augmentation and dropout.
        teacher: the network to distil from; used when `recipe.distill` is above 0.
        history_path: where to append one JSON object per epoch.
        checkpoint_dir: where to keep checkpoints, and to look for one to resume from: a folder of this
            training alone, or an s3:// folder that trainings may share.
        checkpoint_every: seconds between checkpoints (0: after every step). At SIGTERM one is written after
            the step in progress, whatever the time, and the process then ends as the signal meant to.
        on_epoch: called with each new row of the history.
        device: where to train; by default a GPU if there is one.
        title: what the progress bar says.

    Raises:
        ConfigError: the recipe asks for a teacher or a validation split that is not there.
        ModelError: the recipe asks for sparsity and the model has no BatchNorm.
        TrainingError: the loss became NaN or infinite; it names epoch, lr, lambda and last checkpoint.
    """
    place = torch.device(device) if device is not None else best_device()
    if recipe.distill and teacher is None:
        remedy = "Give the network to learn from, or set distill to 0"
        raise ConfigError("needs a teacher", field="distill", value=recipe.distill, remedy=remedy)
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(recipe.threads))
        stack.enter_context(torch.random.fork_rng([place] if place.type == "cuda" else []))
        checkpoints = None
        if checkpoint_dir is not None:
            identity = {
                "recipe": json.dumps(recipe.to_mapping()),
                "seed": str(seed),
                "dataset": json.dumps(dataset.info.sha256, sort_keys=True),
                "starting weights": weights_digest(model),
                "teacher": weights_digest(teacher if recipe.distill else None),
            }
            checkpoints = Checkpoints(checkpoint_dir, identity)
        stack.enter_context(model_on_device(model, place))
        stack.enter_context(synchronised(model))
        if teacher is not None:
            stack.enter_context(model_on_device(teacher, place)).eval()
        torch.manual_seed(seed)
        run = Run(model, dataset, recipe, seed=seed, teacher=teacher, device=place)
        resumed_at = run.resume(checkpoints, history_path, checkpoint_every)
        bar = stack.enter_context(progress.bar(title, len(run.rates)))
        with stop_on_sigterm() if checkpoints else nullcontext(Stop()) as stop:
            run.to_the_end(bar, stop, on_epoch if distributed.rank() == 0 else None)
        return TrainResult(
            history=tuple(run.history.rows),
            error=evaluate(model, dataset.split("test"), dataset.info),
            lam=run.lam,
            sparsity=sparsity.statistics(run.factors) if run.factors else None,
            resumed_at=resumed_at,
            refused=tuple(checkpoints.refused) if checkpoints else (),
        )
