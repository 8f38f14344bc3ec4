"""Steps train_sparse and fine_tune: one training, of a fresh network or of what a step before has left."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from netslim import data, models, sparsity, tracking
from netslim.models import artifact
from netslim.pruning.plan import Plan
from netslim.steps.gpu_check import check_gpus, promised
from netslim.steps.launch.torchrun import run_with_torchrun
from netslim.steps.launch.trainjob import NODES, run_as_trainjob
from netslim.steps.step_record import StepRecord, read_step_records, to_json_files
from netslim.storage.backends import CHECKPOINTS
from netslim.training import distributed, presets
from netslim.training.device import keep_freed_memory
from netslim.training.recipe import Recipe
from netslim.training.train import TrainResult, train

if TYPE_CHECKING:
    from netslim.data import DatasetInfo

__all__ = ["train_step"]

TITLES = {"base": "training", "sparse": "sparse training", "fine_tune": "fine-tuning"}


def train_step(
    stage: str,
    dataset: str | os.PathLike[str],
    model: str | os.PathLike[str],
    *,
    start: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    architecture: str = "",
    architecture_args: Mapping[str, Any] | None = None,
    preset: str,
    overrides: Mapping[str, Any],
    strength: str = "",
    seed: int,
    pass_index: int,
    experiment: str = "",
) -> dict[str, float]:
    """Train, and write the model with its evidence; where several GPUs were promised, in a process on each,
    and where several nodes were, on them.

    Checkpoints lie in the folder that CHECKPOINTS names, or beside the model, so that a retry of this step
    continues where the last try was killed.

    Args:
        stage: `base`, `sparse` or `fine_tune`: which of the preset's recipes.
        start: model artifact to go on from; without it a fresh network is made from `architecture`.
        teacher: model artifact to distil from, used when the recipe says so.
        strength: of the L1 term, as text (see `presets.with_strength`); empty for what the recipe says.
        experiment: where MLflow is told of the curves while they grow; empty for not at all.

    Returns:
        The evidence's plain numbers.
    """
    arguments = dict(locals())
    if distributed.size() == 1:
        if os.environ.get(NODES):
            return run_as_trainjob(arguments)
        if promised() > 1:
            return run_with_torchrun(promised(), arguments)
        check_gpus()
    keep_freed_memory()
    packed = data.open_dataset(dataset)
    recipe = presets.stage(preset, stage, presets.with_strength(overrides, strength))
    found = _start(packed.info, start, architecture, architecture_args or {}, seed)
    taught_by = artifact.load_model(teacher).model if teacher and recipe.distill else None
    checkpoints = os.environ.get(CHECKPOINTS) or Path(model).with_name("checkpoints")
    with ExitStack() as stack:
        history = Path(stack.enter_context(TemporaryDirectory())) / "history.jsonl"
        if experiment and distributed.rank() == 0:
            stack.enter_context(
                tracking.live_curves(history, pass_index=pass_index, stage=stage, experiment=experiment)
            )
        result = train(
            found.model,
            packed,
            recipe,
            seed=seed,
            teacher=taught_by,
            history_path=history,
            checkpoint_dir=checkpoints,
            title=TITLES[stage],
        )
    testimony = StepRecord(_facts(stage, recipe, seed, result, found, packed.info), list(result.history))
    if start and stage == "fine_tune":
        known = {**read_step_records(start), "tune": testimony}
    else:  # a new pass begins
        known = {"train": testimony}
    if distributed.rank() == 0:
        artifact.save_model(model, found.model, found.architecture, found.plan, beside=to_json_files(known))
    return testimony.numbers()


def _start(
    info: DatasetInfo,
    start: str | os.PathLike[str] | None,
    architecture: str,
    arguments: Mapping[str, Any],
    seed: int,
) -> artifact.StoredModel:
    if start is not None:
        return artifact.load_model(start)
    import torch

    named = models.resolve(
        architecture,
        num_classes=len(info.classes),
        in_channels=info.channels,
        image_size=info.image_size,
        **arguments,
    )
    torch.manual_seed(seed)
    model = models.build(named)
    models.check_fit(
        model, num_classes=len(info.classes), in_channels=info.channels, image_size=info.image_size
    )
    sparsity.scaling_factors(model)  # a network that cannot be slimmed is refused before it is trained
    return artifact.StoredModel(model, named, Plan.empty())


def _facts(
    stage: str, recipe: Recipe, seed: int, result: TrainResult, found: artifact.StoredModel, info: DatasetInfo
) -> dict[str, Any]:
    assert result.sparsity is not None  # checked by _start
    return {
        "stage": stage,
        "architecture": found.architecture.factory,
        "dataset": info.title,
        "recipe": recipe.to_mapping(),
        "seed": seed,
        "error": result.error,
        "lam": result.lam,
        "zero_share": result.sparsity.zero_share,
        "near_zero_share": result.sparsity.near_zero_share,
        "gammas": {"edges": list(result.sparsity.edges), "counts": list(result.sparsity.counts)},
        "resumed_at": result.resumed_at,
        "refused_checkpoints": list(result.refused),
    }
