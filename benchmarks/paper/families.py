"""The paper's three families of networks, full and reduced, and the trainings that its tables share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.paper.context import Context
from benchmarks.paper.datasets import Dataset, part
from benchmarks.paper.networks import Net
from netslim import models
from netslim.models import Architecture
from netslim.sparsity import scaling_factors
from netslim.training import presets
from netslim.training.recipe import Recipe

__all__ = ["FAMILIES", "WORDS", "Family", "Study"]

WORDS = {
    "full": "The paper's networks and recipe.",
    "reduced": (
        "Reduced for one CPU core: {network}, {images:,} training images, {epochs} epochs, total shrinkage "
        "{pull:g} (in the paper 6.6 for VGG, 0.66 for DenseNet and ResNet). These errors are far above the "
        "paper's. Do not compare them; the rows show that each step works."
    ),
    "tiny": "Tiny: {network}, {images:,} training images, 1 epoch. These numbers mean nothing.",
}
ALL, TINY = 10**9, 200


@dataclass(frozen=True)
class Family:
    """A family: the paper's network and a reduced one.

    Args:
        small: title of the reduced network.
        lam: the paper's lambda for it on CIFAR and SVHN.
        pull: the reduced network's lambda as total shrinkage, lam * sum(lr) / (1 - momentum). The paper's is
            6.6 for VGG, of which less than half is used for so few steps, and 0.66 for the others.
        images, epochs: for each training of the reduced network.
        layer: number of the BatchNorm whose factors are stored after every epoch, full and reduced.
    """

    title: str
    small: str
    model: str
    arguments: Mapping[str, Any]
    lam: float
    pull: float
    images: int
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
        pull=3.0,
        images=10_000,
        epochs=6,
        layer=(11, 6),
    ),
    "densenet": Family(
        title="DenseNet-40",
        small="DenseNet-10, growth 8",
        model="densenet40",
        arguments={"depth": 10, "growth": 8},
        lam=1e-5,
        pull=0.66,
        images=3_000,
        epochs=4,
    ),
    "resnet": Family(
        title="ResNet-164",
        small="ResNet-11",
        model="resnet164",
        arguments={"depth": 11},
        lam=1e-5,
        pull=0.66,
        images=3_000,
        epochs=3,
    ),
}


@dataclass(frozen=True)
class Study:
    """A family on a dataset with a seed; its networks are made on first use and shared by all tables."""

    context: Context
    family: Family
    data: Dataset
    seed: int
    preset: str = "cifar"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        title = self.family.title if self.full else self.family.small
        object.__setattr__(self, "name", f"{title}, seed {self.seed}")

    @classmethod
    def of(cls, context: Context, family: str, dataset: str, seed: int) -> Study:
        images = {"full": ALL, "reduced": FAMILIES[family].images, "tiny": TINY}[context.scale]
        data = part(context.data(dataset), images)
        return cls(context, FAMILIES[family], data, seed, "svhn" if dataset == "svhn" else "cifar")

    @property
    def full(self) -> bool:
        return self.context.scale == "full"

    @property
    def title(self) -> str:
        return self.family.title if self.full else self.family.small

    def wide(self) -> Architecture:
        info, family = self.data.info, self.family
        inputs: dict[str, Any] = {"num_classes": len(info.classes), "in_channels": info.channels}
        if self.full:
            return models.resolve(family.model, image_size=info.image_size, **inputs)
        name = family.reduced_model or family.model
        return models.resolve(name, image_size=info.image_size, **inputs, **family.arguments)

    def recipe(self, stage: str, strength: float = 1.0) -> Recipe:
        """The paper's recipe; `strength` multiplies lambda (0: none)."""
        fields: dict[str, Any] = {}
        if self.full:
            if stage == "sparse":
                fields["lam"] = strength * self.family.lam
        else:
            epochs = self.family.epochs if self.context.scale == "reduced" else 1
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

    def pruned(self, percent: float) -> Net:
        return self.context.networks.prune(
            f"{self.name}: {percent:.0%} pruned", self.sparse(), self.data, percent=percent
        )

    def tuned(self, percent: float) -> Net:
        return self.train(f"{percent:.0%} pruned, fine-tuned", "fine_tune", self.pruned(percent))

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
        return self.context.networks.train(title, self.data, recipe, seed=self.seed, start=start, watch=watch)

    def words(self) -> str:
        """One sentence: how this differs from the paper."""
        family, images = self.family, len(self.data.split("train"))
        values = {"network": self.title, "epochs": family.epochs, "pull": family.pull}
        return WORDS[self.context.scale].format(images=images, **values)

    def _watched(self) -> str | None:
        if self.family.layer is None:
            return None
        number = self.family.layer[not self.full]
        names = [name for name, _ in scaling_factors(models.build(self.wide()))]
        return names[number - 1].removesuffix(".weight")
