"""The paper's three families of networks, whole and reduced, and the trainings that its tables share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.paper.bench import Bench
from benchmarks.paper.datasets import Dataset, part
from benchmarks.paper.workshop import Net
from netslim import models, presets
from netslim.models import Architecture
from netslim.recipe import Recipe
from netslim.sparsity import scaling_factors

__all__ = ["FAMILIES", "WORDS", "Family", "Study"]

WORDS = {
    "full": "The paper's networks and recipe.",
    "reduced": (
        "REDUCED, for one CPU core: smaller networks of the same families, {images:,} training images and "
        "few epochs ({epochs}). lambda is scaled so that its total pull on a factor is what the paper's is "
        "in 160 epochs. These errors are far above the paper's and not to be compared with them; the rows "
        "show that each step works."
    ),
    "tiny": "TINY: {images:,} training images, epochs: {epochs}. These numbers mean nothing.",
}
IMAGES = {"full": 10**9, "reduced": 5_000, "tiny": 200}


@dataclass(frozen=True)
class Family:
    """A family: its paper network and its reduced one.

    Args:
        small: title of the reduced network.
        lam: the paper's lambda for it on CIFAR and SVHN.
        pull: total pull of that lambda in the paper's 160 epochs of CIFAR, lam * sum(lr) / (1 - momentum).
        epochs: of each training of the reduced network.
        layer: number of the BatchNorm whose factors are kept of every epoch, whole and reduced.
    """

    title: str
    small: str
    model: str
    arguments: Mapping[str, Any]
    lam: float
    pull: float
    epochs: int
    reduced_model: str = ""
    layer: tuple[int, int] | None = None


FAMILIES = {
    "vgg": Family(
        title="VGG-19",
        small="VGG-11, 1/8 as wide",
        model="vgg19",
        reduced_model="vgg11-small",
        arguments={"width": 0.125},
        lam=1e-4,
        pull=6.6,
        epochs=8,
        layer=(11, 6),
    ),
    "densenet": Family(
        title="DenseNet-40",
        small="DenseNet-10, growth 8",
        model="densenet40",
        arguments={"depth": 10, "growth": 8},
        lam=1e-5,
        pull=0.66,
        epochs=5,
    ),
    "resnet": Family(
        title="ResNet-164",
        small="ResNet-11",
        model="resnet164",
        arguments={"depth": 11},
        lam=1e-5,
        pull=0.66,
        epochs=3,
    ),
}


@dataclass(frozen=True)
class Study:
    """A family on a dataset with a seed: its networks, made when asked for and shared by all tables."""

    bench: Bench
    family: Family
    data: Dataset
    seed: int
    preset: str = "cifar"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        title = self.family.title if self.full else self.family.small
        object.__setattr__(self, "name", f"{title}, seed {self.seed}")

    @classmethod
    def of(cls, bench: Bench, family: str, dataset: str, seed: int) -> Study:
        data = part(bench.data(dataset), IMAGES[bench.scale])
        return cls(bench, FAMILIES[family], data, seed, "svhn" if dataset == "svhn" else "cifar")

    @property
    def full(self) -> bool:
        return self.bench.scale == "full"

    @property
    def title(self) -> str:
        return self.family.title if self.full else self.family.small

    def wide(self) -> Architecture:
        info, family = self.data.info, self.family
        context: dict[str, Any] = {"num_classes": len(info.classes), "in_channels": info.channels}
        if self.full:
            return models.resolve(family.model, image_size=info.image_size, **context)
        name = family.reduced_model or family.model
        return models.resolve(name, image_size=info.image_size, **context, **family.arguments)

    def recipe(self, stage: str, strength: float = 1.0) -> Recipe:
        """The paper's recipe; `strength` multiplies lambda (0: none)."""
        fields: dict[str, Any] = {}
        if self.full:
            if stage == "sparse":
                fields["lam"] = strength * self.family.lam
        else:
            epochs = self.family.epochs if self.bench.scale == "reduced" else 1
            fields |= {"epochs": epochs, "threads": 1, "augment": "pad4flip"}
            if stage == "sparse":
                fields["pull"] = strength * self.family.pull
        return presets.stage(self.preset, stage, fields)

    def base(self) -> Net:
        return self.train("baseline", "base", self.wide())

    def sparse(self, strength: float = 1.0) -> Net:
        if not strength:
            return self.base()
        watch = self._watched() if strength == 1 else None
        label = "sparse" if strength == 1 else f"sparse, lambda x {strength:g}"
        return self.train(label, "sparse", self.wide(), strength=strength, watch=watch)

    def cut(self, percent: float) -> Net:
        return self.bench.shop.prune(
            f"{self.name}: {percent:.0%} pruned", self.sparse(), self.data, percent=percent
        )

    def tuned(self, percent: float) -> Net:
        return self.train(f"{percent:.0%} pruned, fine-tuned", "fine_tune", self.cut(percent))

    def train(
        self,
        label: str,
        stage: str,
        start: Net | Architecture,
        *,
        strength: float = 1.0,
        watch: str | None = None,
    ) -> Net:
        recipe = self.recipe(stage, strength)
        title = f"{self.name}: {label}"
        return self.bench.shop.train(title, self.data, recipe, seed=self.seed, start=start, watch=watch)

    def words(self) -> str:
        """How this differs from the paper."""
        epochs = ", ".join(f"{family.small}: {family.epochs}" for family in FAMILIES.values())
        return WORDS[self.bench.scale].format(images=len(self.data.split("train")), epochs=epochs)

    def _watched(self) -> str | None:
        if self.family.layer is None:
            return None
        number = self.family.layer[not self.full]
        names = [name for name, _ in scaling_factors(self.wide().build())]
        return names[number - 1].removesuffix(".weight")
