"""What every experiment is given: the data, the workshop, the scale, and a place for plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.paper.datasets import Dataset, find
from benchmarks.paper.workshop import Workshop

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
    shop: Workshop = field(init=False)
    seeds_used: int = 1

    def __post_init__(self) -> None:
        self.shop = Workshop(self.work)

    def data(self, name: str) -> Dataset:
        return find(name, self.root, self.work)

    def seeds(self, usual: int) -> range:
        """The seeds to run: as many as were asked for, else `usual`."""
        self.seeds_used = self.asked_seeds or usual
        return range(self.seeds_used)

    def plot(self, name: str) -> Path:
        self.images.mkdir(parents=True, exist_ok=True)
        return self.images / name

    def cpu_minutes(self) -> float:
        """CPU time behind the networks asked for, whenever they were made; on a GPU the host's part only."""
        return self.shop.cpu_seconds() / 60
