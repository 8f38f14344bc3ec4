"""Descriptions and choices of the compiled pipelines' inputs, for KFP's page, from the options of a run."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from netslim_kfp.pipelines.compiler.compile import InputNote
from netslim_kfp.pipelines.run_config import PRESET_OF_DATASET, RunConfig

__all__ = ["input_notes"]

DATASETS = (*sorted(PRESET_OF_DATASET), "folder", "imagenet")
PRESETS = (*sorted(set(PRESET_OF_DATASET.values())), "imagenet")
CLOSED = {"dataset": DATASETS, "preset": PRESETS}
OPTION_OF_INPUT = {"max_loss": "max_error_increase"}  # the name of 0.1.0
OF_NO_OPTION = {
    "experiment": "Experiment in MLflow, such as netslim/digits.",
    "strengths": 'Points, each as text: ["lambda=0.001", "total_shrinkage=2"].',
    "points": "The number of different points; 0 if you do not count them.",
    "percents": 'Points, each as text: ["0.1", "0.5", "dead"].',
}


def input_notes() -> dict[str, InputNote]:
    """A note for each input of the pipelines, by its name."""
    fields: dict[str, Any] = RunConfig.model_fields
    options = {
        name: InputNote(str(field.description), _choices(name, field)) for name, field in fields.items()
    }
    old_names = {name: options[option] for name, option in OPTION_OF_INPUT.items()}
    return options | old_names | {name: InputNote(text) for name, text in OF_NO_OPTION.items()}


def _choices(name: str, field: Any) -> tuple[str, ...]:
    if get_origin(field.annotation) is Literal:
        return tuple(get_args(field.annotation))
    return CLOSED.get(name, ())
