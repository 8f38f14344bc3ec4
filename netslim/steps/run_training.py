"""One training of the pipeline: read the inputs, train, and write the model artifact with step records."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from netslim import data, models, sparsity, tracking
from netslim.models import artifact
from netslim.pruning.plan import Plan
from netslim.results.measures import Histogram
from netslim.steps.gpu_check import DETERMINISTIC, GRAPHS
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.step_record import StepRecord, StepRecords, read_step_records
from netslim.steps.training_request import TrainingRequest
from netslim.storage.backends import CHECKPOINTS
from netslim.training import distributed, presets
from netslim.training.device import keep_freed_memory
from netslim.training.recipe import Recipe
from netslim.training.train import TrainResult, train

if TYPE_CHECKING:
    from netslim.data import DatasetInfo, PackedDataset

__all__ = ["run_training"]

TITLES = {"base": "training", "sparse": "sparse training", "fine_tune": "fine-tuning"}


def run_training(request: TrainingRequest) -> TrainMetrics:
    """Train in this process, or in this and the other processes of a process group, and write the model.

    Checkpoints are written to the folder in the variable CHECKPOINTS, which all trainings share, or beside
    the model. A retry of the step continues from the last one. Only rank 0 writes the model.

    Raises:
        NetslimError: an input cannot be used, or the training diverged.
    """
    keep_freed_memory()
    packed = data.open_dataset(request.dataset)
    overrides = presets.with_strength(request.recipe_overrides, request.strength)
    recipe = presets.stage(request.preset, request.stage, overrides)
    network = _starting_network(request, packed.info)
    result = _train(request, network, packed, recipe)
    if recipe.precision == "auto":
        print(f"precision auto was {result.precision}", flush=True)
    metrics = _metrics(request, network, recipe, result, packed.info)
    if distributed.rank() == 0:
        records = _records(request, StepRecord(metrics, result.history))
        artifact.save_model(
            request.model,
            network.model,
            network.architecture,
            network.plan,
            beside=records.to_json_files(),
        )
    return metrics


def _starting_network(request: TrainingRequest, info: DatasetInfo) -> artifact.StoredModel:
    """The network of the artifact `start`, or a new one that fits the dataset."""
    if request.start is not None:
        return artifact.load_model(request.start, allow_factory=request.architecture)
    classes, channels, size = len(info.classes), info.channels, info.image_size
    architecture = models.resolve(
        request.architecture,
        num_classes=classes,
        in_channels=channels,
        image_size=size,
        **request.architecture_args,
    )
    torch.manual_seed(request.seed)
    model = models.build(architecture)
    models.check_fit(model, num_classes=classes, in_channels=channels, image_size=size)
    sparsity.scaling_factors(model)  # refuses a network without BatchNorm before it is trained
    return artifact.StoredModel(model, architecture, Plan.empty())


def _train(
    request: TrainingRequest, network: artifact.StoredModel, packed: PackedDataset, recipe: Recipe
) -> TrainResult:
    """Train the network in place, and upload its curves during training where an experiment is named.

    The variables `GRAPHS` and `DETERMINISTIC` say how steps are run on a GPU.
    """
    teacher = None
    if request.teacher is not None and recipe.distill > 0:
        teacher = artifact.load_model(request.teacher, allow_factory=request.architecture).model
    shared = os.environ.get(CHECKPOINTS, "")
    with ExitStack() as stack:
        history = Path(stack.enter_context(TemporaryDirectory())) / "history.jsonl"
        if request.experiment and distributed.rank() == 0:
            curves = tracking.live_curves(
                history,
                pass_index=request.pass_index,
                stage=request.stage,
                experiment=request.experiment,
            )
            stack.enter_context(curves)
        return train(
            network.model,
            packed,
            recipe,
            seed=request.seed,
            teacher=teacher,
            history_path=history,
            checkpoint_dir=shared or Path(request.model).with_name("checkpoints"),
            checkpoints_shared=bool(shared),
            graphs=os.environ.get(GRAPHS) != "off",
            deterministic=os.environ.get(DETERMINISTIC) == "on",
            title=TITLES[request.stage],
        )


def _metrics(
    request: TrainingRequest,
    network: artifact.StoredModel,
    recipe: Recipe,
    result: TrainResult,
    info: DatasetInfo,
) -> TrainMetrics:
    factors = result.sparsity
    assert network.architecture is not None  # load_model got no network
    assert factors is not None  # _starting_network refuses a network without BatchNorm
    return TrainMetrics(
        stage=request.stage,
        architecture=network.architecture.factory,
        dataset=info.title,
        recipe=recipe.to_mapping(),
        seed=request.seed,
        error=result.error,
        lambda_=result.lambda_,
        zero_share=factors.zero_share,
        near_zero_share=factors.near_zero_share,
        gammas=Histogram(edges=factors.edges, counts=factors.counts),
        resumed_at=result.resumed_at,
        refused_checkpoints=result.refused,
    )


def _records(request: TrainingRequest, record: StepRecord[TrainMetrics]) -> StepRecords:
    """The records of the pass: fine-tuning adds to those of its input, any other training begins a pass."""
    if request.start is not None and request.stage == "fine_tune":
        return replace(read_step_records(request.start), fine_tune=record)
    return StepRecords(train=record)
