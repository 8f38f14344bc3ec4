"""The inputs of every experiment: data, scale, seeds, cached networks, and the folder for plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.paper.datasets import Dataset, find
from benchmarks.paper.networks import MissingNetworkError, Net, NetworkCache

__all__ = ["Context", "Scale"]

Scale = Literal["full", "reduced", "tiny"]


@dataclass
class Context:
    """The inputs of one experiment.

    Args:
        root: folder of the original datasets.
        work: folder of packed datasets and finished networks.
        plots: folder for image files.
        asked_seeds: number of seeds, None for the experiment's default.
        make: train networks that the cache lacks; else they raise MissingNetworkError.
    """

    root: Path
    work: Path
    plots: Path
    scale: Scale
    asked_seeds: int | None
    make: bool = True
    networks: NetworkCache = field(init=False)
    seeds_used: int = 1

    def __post_init__(self) -> None:
        self.networks = NetworkCache(self.work, make=self.make)

    def data(self, name: str) -> Dataset:
        return find(name, self.root, self.work)

    def seeds(self, default: int) -> range:
        """The seeds to run: as many as were asked for, else `default`."""
        self.seeds_used = self.asked_seeds or default
        return range(self.seeds_used)

    def available(self, seeds: Sequence[int], make: Callable[[int], Net]) -> list[Net]:
        """One network for each seed, without those that are missing from the cache and must not be made."""
        nets = []
        for seed in seeds:
            with suppress(MissingNetworkError):
                nets.append(make(seed))
        return nets

    def plot(self, name: str) -> Path:
        self.plots.mkdir(parents=True, exist_ok=True)
        return self.plots / name

    def cpu_minutes(self) -> float:
        """CPU time of all networks used, including earlier runs; with a GPU only the host's part."""
        return self.networks.cpu_seconds() / 60
