"""The request of a small training whose steps are so small that rounding does not add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netslim.steps.training_request import TrainingRequest


def training_request(dataset: Path, model: Path, **recipe_overrides: Any) -> TrainingRequest:
    return TrainingRequest(
        stage="base",
        dataset=str(dataset),
        model=str(model),
        architecture="vgg-digits",
        preset="digits",
        recipe_overrides={"threads": 1, "precision": "fp32", "lr": 1e-3, **recipe_overrides},
        seed=3,
        pass_index=0,
    )
