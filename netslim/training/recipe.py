"""A training recipe: every choice that changes the trained weights, as one validated value. No torch here.

In files and options a recipe is a mapping with the names of `Recipe`'s fields, except that `lambda_` is
written `lambda`, which Python reserves. The names of version 0.1.0, `lam` and `pull`, are read as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from netslim.errors import ConfigError, did_you_mean
from netslim.training.loaders.augmentation import AUGMENTATIONS
from netslim.training.lr_schedule import SCHEDULES, Rates, lambda_for_total_shrinkage, learning_rates

__all__ = ["OLD_NAMES", "PENALTIES", "PRECISIONS", "Recipe", "with_current_names"]

PENALTIES = ("l1", "smooth-l1", "proximal")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
SELECTIONS = ("last", "val")
OLD_NAMES = {"lam": "lambda", "pull": "total_shrinkage"}
"""The fields' names in version 0.1.0, with the names of today."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How to train; the defaults are the paper's for CIFAR (section 4.3).

    Raises:
        ConfigError: a value is out of its range, or two of them contradict each other.
    """

    epochs: int
    """Passes over the training images."""
    batch_size: int = 64
    """Images per optimizer step."""
    lr: float = 0.1
    """The first learning rate."""
    schedule: str = "step"
    """`step` (divided by 10 at each milestone), `cosine` (to 0), or `constant`."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Where `step` drops, as fractions of the run."""
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    """On every parameter, scaling factors and shifts included, as in the paper's code."""
    label_smoothing: float = 0.0
    lambda_: float = 0.0
    """The paper's lambda: weight of the L1 term on every scaling factor. 0 is normal training."""
    total_shrinkage: float = 0.0
    """The weight of the L1 term given another way: lambda * sum(lr) / (1 - momentum), the distance by which
    the term alone would shrink a scaling factor during the run. It means the same in a run of any length."""
    penalty: str = "l1"
    """`l1` (the paper's subgradient), `smooth-l1`, or `proximal` (exact zeros); see `netslim.sparsity`."""
    distill: float = 0.0
    """Weight of the teacher's outputs in the loss, 0 to 1; the labels have the rest of the weight."""
    temperature: float = 4.0
    """Divides the logits of teacher and student when `distill` is above 0."""
    adversarial: float = 0.0
    """Euclidean length, in normalised pixels, by which each image is moved in the direction in which its loss
    rises fastest, before the step is computed; 0 for no change. See `netslim.training.adversarial`. It
    doubles the cost of a step."""
    augment: str = "auto"
    """`auto` for the augmentation that the dataset suggests; else a name of
    `netslim.training.loaders.augmentation`, or `imagenet` (for folders)."""
    precision: str = "auto"
    """`fp32`; `tf32` (float32 with shorter products, on NVIDIA GPUs since Ampere; elsewhere it is fp32);
    `bf16` (autocast); or `auto`: bf16 where the hardware computes it, and on a GPU the faster of bf16 and
    TF32 in a trial of some steps. See `netslim.training.precision`."""
    threads: int = 0
    """CPU threads; 0 leaves torch's setting. Another number changes the last digits of the result."""
    select: str = "last"
    """`last` keeps the last epoch's weights, `val` those of the lowest validation error (never test)."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", self.epochs, "must be at least 1")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "BatchNorm needs at least 2 images")
        _require(0 < self.lr < math.inf, "lr", self.lr, "must be above 0")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "must be at least 0 and below 1")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "must not be negative")
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "must be in [0, 1)")
        _require(0 <= self.lambda_ < math.inf, "lambda", self.lambda_, "must not be negative")
        shrinkage = self.total_shrinkage
        _require(0 <= shrinkage < math.inf, "total_shrinkage", shrinkage, "must not be negative")
        _require(0 <= self.distill <= 1, "distill", self.distill, "must be between 0 and 1")
        _require(0 < self.temperature < math.inf, "temperature", self.temperature, "must be above 0")
        _require(0 <= self.adversarial < math.inf, "adversarial", self.adversarial, "must not be negative")
        _require(self.threads >= 0, "threads", self.threads, "must not be negative")
        for name, choices in _CHOICES.items():
            _require(
                getattr(self, name) in choices,
                name,
                getattr(self, name),
                f"must be one of {', '.join(choices)}",
            )
        rising = all(a < b for a, b in zip(self.milestones, self.milestones[1:], strict=False))
        inside = all(0 < milestone < 1 for milestone in self.milestones)
        _require(rising and inside, "milestones", self.milestones, "must rise and lie between 0 and 1")
        if self.nesterov and self.momentum == 0:
            remedy = "Set nesterov to false, or momentum above 0"
            raise ConfigError("Nesterov needs momentum", field="nesterov", value=True, remedy=remedy)
        if self.lambda_ and shrinkage:
            problem = f"contradicts lambda = {self.lambda_}"
            remedy = "Give the weight of the L1 term once, as lambda or as total_shrinkage"
            raise ConfigError(problem, field="total_shrinkage", value=shrinkage, remedy=remedy)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Recipe:
        """A recipe from a config file, a pipeline parameter, or what `to_mapping` of any version returned.

        Kubeflow turns the integers inside a dict into floats, so 160.0 is read as 160 for an integer field.

        Raises:
            ConfigError: an unknown name (the error suggests the nearest one), a wrong type or a wrong value.
        """
        values = with_current_names(values)
        known = {_json_name(field.name): field for field in fields(cls)}
        for name in values:
            if name not in known:
                remedy = did_you_mean(str(name), known)
                raise ConfigError("a recipe has no such field", field=str(name), remedy=remedy)
        if "epochs" not in values:
            raise ConfigError("is missing", field="epochs", remedy="Give the number of epochs")
        return cls(
            **{known[name].name: _cast(name, str(known[name].type), value) for name, value in values.items()}
        )

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as plain JSON values; `from_mapping` reads them back."""
        values = {_json_name(name): value for name, value in asdict(self).items()}
        return values | {"milestones": list(self.milestones)}

    def identity(self) -> str:
        """The recipe as one text, by which a checkpoint is matched to its training.

        It keeps the names of version 0.1.0, so that a training begun with that version can be resumed.
        """
        old_names = {new: old for old, new in OLD_NAMES.items()}
        return json.dumps({old_names.get(name, name): value for name, value in self.to_mapping().items()})

    def learning_rates(self, steps_per_epoch: int) -> Rates:
        """The learning rate of every step of the run, float64[epochs * steps_per_epoch]."""
        steps = self.epochs * steps_per_epoch
        return learning_rates(self.lr, steps, schedule=self.schedule, milestones=self.milestones)

    def effective_lambda(self, steps_per_epoch: int) -> float:
        """The lambda to train with: `lambda_`, or the one that gives `total_shrinkage` in this run."""
        return self.lambda_ or lambda_for_total_shrinkage(
            self.total_shrinkage, self.learning_rates(steps_per_epoch), self.momentum
        )


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe, or of some changes to one, with the names of version 0.1.0 replaced.

    Raises:
        ConfigError: a field is given by its old and its present name.
    """
    renamed: dict[str, Any] = {}
    for name, value in values.items():
        current = OLD_NAMES.get(name, name)
        if current in renamed:
            remedy = f"Give {current} once"
            raise ConfigError("is given twice, once by its old name", field=current, remedy=remedy)
        renamed[current] = value
    return renamed


def _json_name(field_name: str) -> str:
    """The name of a field in files: `lambda` for `lambda_`, which Python reserves."""
    return field_name.rstrip("_")


_CHOICES = {
    "schedule": SCHEDULES,
    "penalty": PENALTIES,
    "augment": ("auto", *AUGMENTATIONS, "imagenet"),
    "precision": PRECISIONS,
    "select": SELECTIONS,
}


def _require(holds: bool, name: str, value: object, problem: str) -> None:
    if not holds:
        raise ConfigError(problem, field=name, value=value)


def _cast(name: str, kind: str, value: Any) -> Any:
    """`value` as the field's type, or ConfigError. Text is not converted: "0.1" is not a number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    if kind == "float" and number:
        return float(value)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("tuple") and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_cast(name, "float", each) for each in value)
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    raise ConfigError(f"must be {wanted.get(kind, 'a list of numbers')}", field=name, value=value)
