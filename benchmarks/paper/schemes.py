"""Ways to slim the MNIST MLP: recipes for its three trainings, and how their open settings are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.paper.datasets import Dataset
from benchmarks.paper.workshop import Net, Workshop
from netslim import models, presets

__all__ = ["CUT", "SCHEMES", "STAGES", "Scheme", "Slimmed", "choose", "slim"]

STAGES = ("base", "sparse", "fine_tune")
CUT = {"percent": 0.8, "scope": "layer"}  # of each hidden layer, as in the paper: 784-100-60-10

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Scheme:
    """One way to slim: what differs from the preset `mnist`, the paper's recipe, in each of three trainings.

    Args:
        shared: fields of all three recipes.
        base, sparse, fine_tune: fields of one.
        open: settings to choose, one after the other, in this order: a part of the scheme, a field, and the
            values to try. Each is chosen by the validation error of the fine-tuned network, with those before
            it as chosen and those behind it at what the scheme says.
    """

    shared: Settings = field(default_factory=dict)
    base: Settings = field(default_factory=dict)
    sparse: Settings = field(default_factory=dict)
    fine_tune: Settings = field(default_factory=dict)
    open: Sequence[tuple[str, str, Sequence[float]]] = ()

    def recipe(self, stage: str) -> presets.Recipe:
        own = {"threads": 1, **self.shared, **getattr(self, stage)}
        return presets.stage("mnist", stage, own)

    def having(self, part: str, **fields: Any) -> Scheme:
        """This scheme with some fields of one part replaced."""
        return replace(self, **{part: {**getattr(self, part), **fields}})


@dataclass(frozen=True)
class Slimmed:
    """The four networks of one seed."""

    base: Net
    sparse: Net
    cut: Net
    tuned: Net


STRONG = {"schedule": "cosine", "label_smoothing": 0.1, "weight_decay": 2e-3}

SCHEMES = {
    "the paper's recipe": Scheme(sparse={"lam": 1.5e-3}, open=[("sparse", "lam", (1e-3, 1.5e-3, 3e-3))]),
    "ours": Scheme(
        shared=STRONG,
        sparse={"lam": 1.5e-3, "penalty": "proximal"},
        open=[
            ("shared", "weight_decay", (1e-3, 2e-3)),
            ("sparse", "lam", (1e-3, 1.5e-3)),
            ("fine_tune", "distill", (0.0, 0.5)),
            ("fine_tune", "epochs", (30, 60)),
            ("fine_tune", "distill", (0.5, 0.9)),
        ],
    ),
    # Nothing is chosen here: lambda is the prototype's, and the rest was set before any of it was run.
    "ours, augmented": Scheme(
        shared={"schedule": "cosine", "augment": "affine"},
        sparse={"lam": 1.5e-3, "penalty": "proximal"},
        fine_tune={"epochs": 60, "distill": 0.9},
    ),
}


def slim(shop: Workshop, data: Dataset, scheme: Scheme, seed: int, name: str) -> Slimmed:
    """Train, train sparsely, cut, fine-tune: each network is made once, whichever schemes share it."""
    image = data.info.image_size
    wide = models.resolve("mlp", num_classes=10, in_channels=1, image_size=image)
    label = f"{name}, seed {seed}"
    base = shop.train(f"{label}: baseline", data, scheme.recipe("base"), seed=seed, start=wide)
    recipe = scheme.recipe("sparse")
    sparse = shop.train(f"{label}: sparse", data, recipe, seed=seed, start=wide, teacher=base)
    cut = shop.prune(f"{label}: pruned", sparse, data, **CUT)
    recipe = scheme.recipe("fine_tune")
    tuned = shop.train(f"{label}: fine-tuned", data, recipe, seed=seed, start=cut, teacher=base)
    return Slimmed(base, sparse, cut, tuned)


@dataclass(frozen=True)
class Trial:
    """A setting that was tried, and the validation error of the network fine-tuned with it."""

    setting: str
    error: float
    chosen: bool


def choose(shop: Workshop, data: Dataset, scheme: Scheme, name: str) -> tuple[Scheme, list[Trial]]:
    """The scheme with its open settings chosen on `data`, whose test split must be a validation split."""
    trials: list[Trial] = []
    for part, key, values in scheme.open:
        errors = {value: _error(shop, data, scheme.having(part, **{key: value}), name) for value in values}
        best = min(errors, key=errors.__getitem__)
        scheme = scheme.having(part, **{key: best})
        trials += [
            Trial(f"{part}: {key} = {value:g}", error, value == best) for value, error in errors.items()
        ]
    return scheme, trials


def _error(shop: Workshop, data: Dataset, scheme: Scheme, name: str) -> float:
    return slim(shop, data, scheme, seed=CHOOSING_SEED, name=f"choosing, {name}").tuned.error


CHOOSING_SEED = 100  # none of those that are reported
