"""Recipes for the three trainings of the MNIST MLP, and how their open settings are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from benchmarks.paper.datasets import Dataset
from benchmarks.paper.networks import Net, NetworkCache
from netslim import models
from netslim.training import presets

__all__ = ["PRUNING", "SCHEMES", "STAGES", "Scheme", "Slimmed", "choose", "slim"]

STAGES = ("base", "sparse", "fine_tune")
PRUNING = {"percent": 0.8, "scope": "layer"}  # of each hidden layer, as in the paper: 784-100-60-10

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Scheme:
    """Changes to the preset `mnist`, which is the paper's recipe, in each of the three trainings.

    Args:
        shared: fields of all three recipes.
        base, sparse, fine_tune: fields of one recipe.
        open: settings to choose one after the other, in this order: a part of the scheme, a field, and the
            values to try. Each is chosen by the mean validation error of networks fine-tuned with it. Earlier
            settings are as chosen, later settings as in the scheme.
        choosing: seeds of those networks; none of them is reported. Two seeds may differ by 0.1.
    """

    shared: Settings = field(default_factory=dict)
    base: Settings = field(default_factory=dict)
    sparse: Settings = field(default_factory=dict)
    fine_tune: Settings = field(default_factory=dict)
    open: Sequence[tuple[str, str, Sequence[float | str]]] = ()
    choosing: Sequence[int] = (100, 101)

    def recipe(self, stage: str) -> presets.Recipe:
        fields = {"threads": 1, **self.shared, **getattr(self, stage)}
        return presets.stage("mnist", stage, fields)

    def having(self, part: str, **fields: Any) -> Scheme:
        """This scheme with some fields of one part replaced."""
        return replace(self, **{part: {**getattr(self, part), **fields}})


@dataclass(frozen=True)
class Slimmed:
    """The four networks of one seed."""

    base: Net
    sparse: Net
    pruned: Net
    tuned: Net


SCHEMES = {
    "the paper's recipe": Scheme(sparse={"lam": 1.5e-3}, open=[("sparse", "lam", (1e-3, 1.5e-3, 3e-3))]),
    # The cosine schedule gives the better baseline, steps the better slim network.
    "ours": Scheme(
        shared={"label_smoothing": 0.1, "weight_decay": 2e-3},
        base={"schedule": "cosine"},
        sparse={"lam": 1e-3, "penalty": "proximal"},
        open=[
            ("sparse", "lam", (1e-3, 1.5e-3)),
            ("fine_tune", "schedule", ("step", "cosine")),
            ("fine_tune", "weight_decay", (2e-3, 4e-3)),
            ("fine_tune", "distill", (0.0, 0.9)),
            ("fine_tune", "adversarial", (0.0, 1.0, 1.5)),
        ],
        choosing=(100, 101, 102),
    ),
    # Half the preset's lambda for twice its epochs: the same total shrinkage.
    "ours, augmented": Scheme(
        shared={"schedule": "cosine", "augment": "affine", "epochs": 60},
        sparse={"lam": 7.5e-4, "penalty": "proximal"},
        fine_tune={"epochs": 120},
        open=[("fine_tune", "distill", (0.0, 0.9)), ("fine_tune", "epochs", (120, 240))],
        choosing=(100,),  # a network takes minutes
    ),
}


def slim(networks: NetworkCache, data: Dataset, scheme: Scheme, seed: int, name: str) -> Slimmed:
    """Train, train with sparsity, prune, fine-tune; schemes share networks with equal inputs."""
    image = data.info.image_size
    wide = models.resolve("mlp", num_classes=10, in_channels=1, image_size=image)
    label = f"{name}, seed {seed}"
    base = networks.train(f"{label}: baseline", data, scheme.recipe("base"), seed=seed, start=wide)
    recipe = scheme.recipe("sparse")
    sparse = networks.train(f"{label}: sparse", data, recipe, seed=seed, start=wide, teacher=base)
    pruned = networks.prune(f"{label}: pruned", sparse, data, **PRUNING)
    recipe = scheme.recipe("fine_tune")
    tuned = networks.train(f"{label}: fine-tuned", data, recipe, seed=seed, start=pruned, teacher=base)
    return Slimmed(base, sparse, pruned, tuned)


@dataclass(frozen=True)
class Trial:
    """One value of a setting, and the validation errors of the networks fine-tuned with it, one per seed."""

    setting: str
    errors: Sequence[float]
    chosen: bool


def choose(networks: NetworkCache, data: Dataset, scheme: Scheme, name: str) -> tuple[Scheme, list[Trial]]:
    """The scheme with its open settings chosen on `data`, whose test split must be a validation split."""
    trials: list[Trial] = []
    for part, key, values in scheme.open:
        errors = {
            value: _errors(networks, data, scheme.having(part, **{key: value}), name) for value in values
        }
        best = min(values, key=lambda value: fmean(errors[value]))
        scheme = scheme.having(part, **{key: best})
        trials += [Trial(f"{part}: {key} = {value}", errors[value], value == best) for value in values]
    return scheme, trials


def _errors(networks: NetworkCache, data: Dataset, scheme: Scheme, name: str) -> list[float]:
    name = f"choosing, {name}"
    return [slim(networks, data, scheme, seed, name).tuned.error for seed in scheme.choosing]
