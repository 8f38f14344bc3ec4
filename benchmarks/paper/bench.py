"""What every experiment is given: the data, the workshop, the scale, and a place for plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.paper.datasets import Dataset, find
from benchmarks.paper.workshop import Net, NotMadeError, Workshop

__all__ = ["Bench", "Scale"]

Scale = Literal["full", "reduced", "tiny"]


@dataclass
class Bench:
    """The surroundings of one experiment."""

    root: Path
    work: Path
    images: Path
    scale: Scale
    asked_seeds: int | None
    make: bool = True
    shop: Workshop = field(init=False)
    seeds_used: int = 1

    def __post_init__(self) -> None:
        self.shop = Workshop(self.work, make=self.make)

    def data(self, name: str) -> Dataset:
        return find(name, self.root, self.work)

    def seeds(self, usual: int) -> range:
        """The seeds to run: as many as were asked for, else `usual`."""
        self.seeds_used = self.asked_seeds or usual
        return range(self.seeds_used)

    def made(self, seeds: Sequence[int], net: Callable[[int], Net]) -> list[Net]:
        """One network for each seed; those that are neither there nor to be made are left out."""
        found = []
        for seed in seeds:
            with suppress(NotMadeError):
                found.append(net(seed))
        return found

    def plot(self, name: str) -> Path:
        self.images.mkdir(parents=True, exist_ok=True)
        return self.images / name

    def cpu_minutes(self) -> float:
        """CPU time behind the networks asked for, whenever they were made; on a GPU the host's part only."""
        return self.shop.cpu_seconds() / 60
