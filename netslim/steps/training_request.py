"""The arguments of one training, as a value that can be sent to other processes and other machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["TrainingRequest"]


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """One training: of a new network, or of the network in a model artifact.

    Args:
        stage: `base`, `sparse` or `fine_tune`: which of the preset's recipes.
        dataset: folder of a packed dataset.
        model: folder to write the trained model artifact to.
        start: model artifact to continue from; without it a new network is made from `architecture`.
        teacher: model artifact to distil from, used when the recipe's `distill` is above 0.
        architecture: a name, any torchvision classifier, or package.module:factory. For `start` and
            `teacher` it is the factory that may be called, if theirs is not netslim's or torchvision's.
        architecture_args: keyword arguments of the architecture.
        preset: name of the training recipe.
        recipe_overrides: fields of the recipe to replace.
        strength: of the L1 term, as text (see `presets.with_strength`); empty for the recipe's own.
        seed: of initial weights, order and augmentation.
        pass_index: number of the pass, for titles and MLflow; 0 is the baseline.
        experiment: MLflow experiment for curves during training; empty for none.
    """

    stage: str
    dataset: str
    model: str
    start: str | None = None
    teacher: str | None = None
    architecture: str = ""
    architecture_args: Mapping[str, Any] = field(default_factory=dict)
    preset: str
    recipe_overrides: Mapping[str, Any] = field(default_factory=dict)
    strength: str = ""
    seed: int
    pass_index: int
    experiment: str = ""

    def to_json(self) -> dict[str, Any]:
        """The request as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingRequest:
        return cls(**data)
