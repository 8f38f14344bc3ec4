"""A cache of trained and pruned networks: each is stored in the work folder under a hash of its inputs."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

import netslim
from benchmarks.paper.datasets import Dataset
from benchmarks.trained import training_images
from netslim import models
from netslim.errors import NetslimError
from netslim.models import Architecture, artifact
from netslim.models.artifact import StoredModel
from netslim.models.init import he
from netslim.pruning.plan import Plan
from netslim.sparsity import ZERO_GAMMA
from netslim.storage.atomic import read_json
from netslim.training.evaluate import evaluate
from netslim.training.recipe import Recipe
from netslim.training.train import train

__all__ = ["Made", "MissingNetworkError", "Net", "NetworkCache", "example"]

FACTS = "facts.json"

Made = tuple[nn.Module, Architecture | None, Plan, dict[str, Any]]


class MissingNetworkError(NetslimError):
    """A network is not in the cache, and no network may be made (`--kept`)."""


@dataclass(frozen=True)
class Net:
    """A network in the cache and its facts; `error` is its test error in percent."""

    key: str
    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return read_json(self.folder / FACTS)

    @property
    def error(self) -> float:
        return self.facts["error"]

    def load(self) -> StoredModel:
        return artifact.load_model(self.folder)


class NetworkCache:
    """Makes networks or loads them; an interrupted training continues from its last checkpoint."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Without `make`, a network that is missing raises MissingNetworkError."""
        self.folder, self.make = folder / "nets", make
        self.used: dict[str, Net] = {}

    def train(
        self,
        title: str,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        start: Net | Architecture,
        teacher: Net | None = None,
        watch: str | None = None,
    ) -> Net:
        """Train from `start`; an architecture is initialised with the seed.

        Args:
            teacher: used if the recipe distils.
            watch: a BatchNorm layer whose scaling factors after each epoch are stored in `facts["factors"]`.
        """
        made_of = {
            "kind": "train",
            "start": start.key if isinstance(start, Net) else start.to_json(),
            "recipe": recipe.to_mapping(),
            "seed": seed,
            "data": dataset.info.sha256,
            "teacher": teacher.key if teacher and recipe.distill else None,
            "watch": watch,
        }

        def make(scratch: Path) -> Made:
            if isinstance(start, Net):
                stored = start.load()
                model, architecture, plan = stored.model, stored.architecture, stored.plan
            else:
                torch.manual_seed(seed)
                model, architecture, plan = models.build(start), start, Plan.empty()
            history = scratch / "factors.jsonl"

            def record(row: dict[str, Any]) -> None:
                if watch:
                    scratch.mkdir(parents=True, exist_ok=True)
                    factors = model.get_submodule(watch).weight.detach().tolist()
                    with history.open("a") as stream:
                        stream.write(json.dumps([row["step"], factors]) + "\n")

            result = train(
                model,
                dataset,  # type: ignore[arg-type]
                recipe,
                seed=seed,
                teacher=teacher.load().model if teacher and recipe.distill else None,
                checkpoint_dir=scratch,
                on_epoch=record,
                title=title,
            )
            factors = dict(json.loads(line) for line in history.read_text().splitlines()) if watch else {}
            facts = {
                "error": result.error,
                "lam": result.lambda_,
                "epochs": recipe.epochs,
                "near_zero_share": result.sparsity.near_zero_share if result.sparsity else 0.0,
                "factors": list(factors.values()),
            }
            return model, architecture, plan, facts

        return self.get_or_make(title, made_of, make, dataset)

    def prune(self, title: str, net: Net, dataset: Dataset, **options: Any) -> Net:
        """Prune with these options of `netslim.prune`, as the pipeline does, without fine-tuning."""
        made_of = {"kind": "prune", "start": net.key, "options": options}

        def make(scratch: Path) -> Made:
            wide = net.load()
            result = netslim.prune(wide.model, example(dataset), **options)
            if result.threshold >= ZERO_GAMMA:  # a live channel was removed, so statistics behind it changed
                netslim.recalibrate(result.model, training_images(dataset))
            error = evaluate(result.model, dataset.split("test"), dataset.info)
            facts = {"error": error, "threshold": result.threshold}
            return result.model, wide.architecture, wide.plan.then(result.plan), facts

        return self.get_or_make(title, made_of, make, dataset)

    def fresh(self, title: str, net: Net, dataset: Dataset, *, seed: int) -> Net:
        """The structure of a slim network with new weights."""
        made_of = {"kind": "fresh", "structure of": net.key, "seed": seed}

        def make(scratch: Path) -> Made:
            slim = net.load()
            torch.manual_seed(seed)
            model = he(netslim.apply_plan(models.build(slim.architecture), slim.plan))
            return model, slim.architecture, slim.plan, {}

        return self.get_or_make(title, made_of, make, dataset)

    def get_or_make(
        self, title: str, made_of: dict[str, Any], make: Callable[[Path], Made], dataset: Dataset
    ) -> Net:
        """The network with these inputs, from the cache if it is there."""
        key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        net = Net(key, self.folder / key)
        if not net.folder.exists():
            if not self.make:
                raise MissingNetworkError(
                    "is not in the cache", field=title, remedy="Run this without --kept"
                )
            scratch, begun = self.folder / f"{key}.unfinished", time.process_time()
            model, architecture, plan, facts = make(scratch)
            cost = netslim.count(model, example(dataset))
            facts = {
                "title": title,
                "made_of": made_of,
                "cpu_seconds": time.process_time() - begun,
                "params": cost.params,
                "macs": cost.macs,
                "channels": cost.channels,
                **facts,
            }
            artifact.save_model(net.folder, model, architecture, plan, beside={FACTS: facts})
            shutil.rmtree(scratch, ignore_errors=True)
            error = f"error {facts['error']:.2f} %, " if "error" in facts else ""
            click.echo(f"  {title}: {error}{facts['cpu_seconds']:.0f} s", err=True)
        self.used[key] = net
        return net

    def cpu_seconds(self) -> float:
        """CPU time of making all networks used since the last call, including earlier runs."""
        spent = sum(net.facts["cpu_seconds"] for net in self.used.values())
        self.used.clear()
        return spent


def example(dataset: Dataset) -> torch.Tensor:
    return torch.zeros(1, dataset.info.channels, *dataset.info.image_size)
