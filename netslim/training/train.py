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
from netslim.training.determinism import deterministic_algorithms, reserve_workspace
from netslim.training.device import best_device, cpu_threads, model_on_device
from netslim.training.evaluate import evaluate
from netslim.training.recipe import Recipe
from netslim.training.signals import Stop, stop_on_sigterm
from netslim.training.sync_batchnorm import synchronised
from netslim.training.trainer import Trainer

if TYPE_CHECKING:
    from netslim.data import PackedDataset

__all__ = ["TrainResult", "evaluate", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of a training; the trained weights are in the model itself."""

    history: tuple[dict[str, Any], ...]
    """One row per epoch, as in history.jsonl."""
    error: float
    """Error on the test split, in percent."""
    lambda_: float
    """The weight of the L1 term, also where the recipe gives `total_shrinkage`."""
    sparsity: sparsity.SparsityStats | None
    """The scaling factors at the end; None for a model without BatchNorm."""
    resumed_at: int
    """The optimizer step from which this call continued; 0 if it started at the beginning."""
    refused: tuple[str, ...]
    """Checkpoints that could not be used, each with the reason."""
    precision: str
    """The precision of the training: the recipe's, or the one that `auto` was."""


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
    checkpoints_shared: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    device: torch.device | str | None = None,
    graphs: bool = True,
    deterministic: bool = False,
    title: str = "training",
) -> TrainResult:
    """Train `model` in place on the training split (paper, sections 3 and 4.3).

    Afterwards the model is on its old device, and every module is in its old mode; only parameters and
    buffers have changed. torch's random generators outside are not changed. On a CPU with the same number of
    threads, and on one GPU with `deterministic`, the result is a function of the starting weights, the data,
    the recipe and the seed, bit for bit, also when the training was killed and resumed any number of times.

    On a GPU the steps run as a CUDA graph (`netslim.training.graph_step`) where that is possible; otherwise
    the log has the reason. The weights are the same, bit for bit.

    Within `netslim.training.distributed.process_group` every process calls this with the same arguments. The
    result is that of one process, up to rounding and to the random numbers of dropout. Only rank 0 writes.

    Args:
        model: returns logits [batch, classes] for float32 images [batch, channels, height, width]; in train
            mode a tuple of main and auxiliary logits too.
        dataset: a packed dataset; its test split is used once, at the end.
        recipe: how to train.
        seed: of the order, the augmentation and dropout.
        teacher: the network to distil from; used when `recipe.distill` is above 0.
        history_path: a file to which one JSON object per epoch is appended.
        checkpoint_dir: a folder where checkpoints are written, and from where the training is resumed.
        checkpoint_every: seconds between checkpoints (0: after every step). At SIGTERM one is written after
            the step in progress, and then the process ends with exit code 143.
        checkpoints_shared: `checkpoint_dir` is for any number of trainings, each of which finds its own by
            its recipe, seed, data and starting weights. An s3:// folder always is.
        on_epoch: called with each new row of the history.
        device: where to train; by default a GPU if there is one.
        graphs: False to launch the operations of each step one by one on a GPU, too.
        deterministic: True for torch's deterministic algorithms, which are slower on a GPU.
        title: the title of the progress bar.

    Raises:
        ConfigError: the recipe needs a teacher or a validation split that is not there; or `deterministic` is
            asked for too late in the process.
        DataError: a split is missing, damaged, or too small.
        ModelError: the recipe has the L1 term and the model has no BatchNorm.
        StorageError: a checkpoint or the history could not be written.
        TrainingError: the loss became NaN or infinite (the error names epoch, lr, lambda and the last
            checkpoint), the GPU does not compute, or a layer has no deterministic algorithm.
    """
    if deterministic and torch.cuda.is_available():
        reserve_workspace()
    device = torch.device(device) if device is not None else best_device()
    if recipe.distill and teacher is None:
        remedy = "Give the network to distil from, or set distill to 0"
        raise ConfigError("needs a teacher", field="distill", value=recipe.distill, remedy=remedy)
    with ExitStack() as stack:
        stack.enter_context(cpu_threads(recipe.threads))
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        if deterministic:
            stack.enter_context(deterministic_algorithms())
        checkpoints = None
        if checkpoint_dir is not None:
            identity = {
                "recipe": recipe.identity(),
                "seed": str(seed),
                "dataset": json.dumps(dataset.info.sha256, sort_keys=True),
                "starting weights": weights_digest(model),
                "teacher": weights_digest(teacher if recipe.distill else None),
            }
            checkpoints = Checkpoints(checkpoint_dir, identity, shared=checkpoints_shared)
            if distributed.rank() == 0:
                progress.emit_event("checkpoints", folder=checkpoints.root)
        stack.enter_context(model_on_device(model, device))
        stack.enter_context(synchronised(model))
        if teacher is not None:
            stack.enter_context(model_on_device(teacher, device)).eval()
        torch.manual_seed(seed)
        trainer = Trainer(
            model,
            dataset,
            recipe,
            seed=seed,
            teacher=teacher,
            device=device,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every,
            history_path=history_path,
            graphs=graphs,
        )
        resumed_at = trainer.resume()
        bar = stack.enter_context(progress.bar(title, len(trainer.rates)))
        with stop_on_sigterm() if checkpoints else nullcontext(Stop()) as stop:
            trainer.fit(bar, stop, on_epoch if distributed.rank() == 0 else None)
        return TrainResult(
            history=tuple(trainer.history.rows),
            error=evaluate(model, dataset.split("test"), dataset.info),
            lambda_=trainer.lambda_,
            sparsity=sparsity.statistics(trainer.gammas) if trainer.gammas else None,
            resumed_at=resumed_at,
            refused=tuple(checkpoints.refused) if checkpoints else (),
            precision=trainer.runner.precision,
        )
