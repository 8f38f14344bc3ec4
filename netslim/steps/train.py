"""Steps train_sparse and fine_tune: start a training in this process, in several, or on several nodes."""

from __future__ import annotations

import os

from netslim.steps.gpu_check import check_gpus, promised
from netslim.steps.launch.torchrun import run_with_torchrun
from netslim.steps.launch.trainjob import NODES, run_as_trainjob
from netslim.steps.run_training import run_training
from netslim.steps.step_metrics import TrainMetrics
from netslim.steps.training_request import TrainingRequest

__all__ = ["train_step"]


def train_step(request: TrainingRequest) -> TrainMetrics:
    """Run `request` where the step's environment says, and return the metrics of the trained model.

    The variable NODES names the nodes of a TrainJob. With more than one promised GPU there is one process per
    GPU. Else the training runs in this process.
    """
    if os.environ.get(NODES):
        return run_as_trainjob(request)
    if promised() > 1:
        return run_with_torchrun(promised(), request)
    check_gpus()
    return run_training(request)
