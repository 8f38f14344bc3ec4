"""Named recipes: those of the paper's section 4.3, and the demo's. Each has three stages.

    base       normal training, the baseline
    sparse     training with L1 on the scaling factors
    fine_tune  training the pruned network, without L1

lambda is one number per network in the paper, found on a validation split of CIFAR-10 (grid 1e-3, 1e-4,
1e-5). The presets have VGG's; for the others override it: `lambda` = 1e-5 for ResNet-164 and DenseNet-40 on
CIFAR and SVHN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netslim.errors import ConfigError, did_you_mean
from netslim.training.recipe import OLD_NAMES, Recipe, with_current_names

__all__ = ["STAGES", "STRENGTHS", "names", "stage", "with_strength"]

STAGES = ("base", "sparse", "fine_tune")
STRENGTHS = ("lambda", "total_shrinkage")
"""The fields of a recipe that set the weight of the L1 term; a recipe has one of them."""

_Fields = Mapping[str, Any]

_THIRDS = (1 / 3, 2 / 3)

_PRESETS: Mapping[str, tuple[_Fields, Mapping[str, _Fields]]] = {
    # name: (changes to Recipe's defaults in all stages, further changes by stage)
    "cifar": (
        {"epochs": 160},
        {"sparse": {"lambda": 1e-4}},
    ),
    "svhn": (
        {"epochs": 20, "select": "val"},  # the paper picks the model by 6,000 validation images
        {"sparse": {"lambda": 1e-4}},
    ),
    "imagenet": (
        {"epochs": 60, "batch_size": 256, "milestones": _THIRDS},
        {"sparse": {"lambda": 1e-5}, "fine_tune": {"epochs": 5, "lr": 1e-3, "schedule": "constant"}},
    ),
    "mnist": (
        {"epochs": 30, "batch_size": 256, "milestones": _THIRDS},
        # The paper gives no lambda here. With this one, the factors of the 80 % of the MLP's
        # neurons that it prunes reach zero.
        {"sparse": {"lambda": 1.5e-3}},
    ),
    "digits": (
        {
            "epochs": 30,
            "batch_size": 50,
            "schedule": "cosine",
            "label_smoothing": 0.1,
            "penalty": "proximal",
            "precision": "fp32",
            "threads": 1,
        },
        {"sparse": {"total_shrinkage": 2.0}, "fine_tune": {"batch_size": 25, "lr": 0.05}},
    ),
}


def names() -> list[str]:
    """The presets, sorted."""
    return sorted(_PRESETS)


def stage(preset: str, stage: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of one stage of a preset, with some of its fields replaced.

    Overriding `lambda` drops the preset's `total_shrinkage`, and the other way round: they are one quantity.

    Raises:
        ConfigError: an unknown preset, stage or field, a wrong value, or L1 asked of a stage without it.
    """
    if preset not in _PRESETS:
        remedy = did_you_mean(preset, names())
        raise ConfigError("no such preset", field="preset", value=preset, remedy=remedy)
    if stage not in STAGES:
        raise ConfigError(
            "no such stage", field="stage", value=stage, remedy=f"Choose one of {', '.join(STAGES)}"
        )
    shared, own = _PRESETS[preset]
    changes = with_current_names(overrides or {})
    for name in STRENGTHS:
        if stage != "sparse" and changes.get(name):
            problem, remedy = (
                f"does not apply to the stage {stage}",
                "Only the stage `sparse` has the L1 term",
            )
            raise ConfigError(problem, field=name, value=changes[name], remedy=remedy)
    fields = {**shared, **own.get(stage, {})}
    if any(name in changes for name in STRENGTHS):
        fields = _without_strength(fields)
    return Recipe.from_mapping({**fields, **changes})


def with_strength(overrides: Mapping[str, Any], strength: str) -> dict[str, Any]:
    """`overrides` with another weight of the L1 term; unchanged when `strength` is empty.

    Args:
        strength: one field as text, `lambda=0.0001` or `total_shrinkage=2` (or by their old names). It is
            text because a KFP backend passes each item of a loop as text, and refuses it for an input of
            another type.

    Raises:
        ConfigError: `strength` is not of this form.
    """
    if not strength:
        return dict(overrides)
    name, _, value = strength.partition("=")
    name = OLD_NAMES.get(name, name)
    try:
        if name not in STRENGTHS:
            raise ValueError
        number = float(value)
    except ValueError:
        raise ConfigError(
            "neither lambda=NUMBER nor total_shrinkage=NUMBER",
            field="strength",
            value=strength,
            remedy="Write lambda=0.0001 or total_shrinkage=2",
        ) from None
    return {**_without_strength(with_current_names(overrides)), name: number}


def _without_strength(fields: _Fields) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in STRENGTHS}
