"""Controls for a slim network: its structure trained from scratch, and pruning by the norms of filters."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import netslim
from benchmarks.paper.datasets import Dataset
from benchmarks.paper.networks import Made, Net, NetworkCache, example
from netslim.training.evaluate import evaluate
from netslim.training.recipe import Recipe

__all__ = ["filter_pruned", "from_scratch"]


def from_scratch(
    networks: NetworkCache, data: Dataset, wide: Net, slim: Net, recipe: Recipe, seed: int
) -> Net:
    """The slim structure trained from new weights with the FLOPs of the wide network's training.

    This is Scratch-B of "Rethinking the value of network pruning" (Liu et al. 2019), which allows at most
    twice the epochs.
    """
    longer = min(2.0, wide.facts["macs"] / slim.facts["macs"])
    recipe = replace(recipe, epochs=max(1, round(recipe.epochs * longer)))
    label = slim.facts["title"].removesuffix(": pruned")
    start = networks.fresh(f"{label}: new weights", slim, data, seed=seed)
    return networks.train(f"{label}: from scratch", data, recipe, seed=seed, start=start)


def filter_pruned(
    networks: NetworkCache,
    data: Dataset,
    wide: Net,
    recipe: Recipe,
    seed: int,
    *,
    teacher: Net | None = None,
    percent: float | None = None,
    params: int = 0,
) -> Net:
    """The wide network, trained without sparsity, pruned by the L1 norm of its filters and fine-tuned.

    The method of Li et al. (2017): every layer loses the same share of its filters, those with the smallest
    sum of absolute weights. The share is `percent`, or else the smallest whole percent that leaves at most
    `params` parameters.
    """
    label = wide.facts["title"].removesuffix(": baseline")
    made_of = {"kind": "L1 norm", "start": wide.key, "percent": percent, "params": params}

    def make(scratch: object) -> Made:
        stored = wide.load()
        ranked = stored.model
        by_norm = wide.load().model
        _norms_for_factors(by_norm)

        def pruned(share: float) -> netslim.PruneResult:
            return netslim.prune(by_norm, example(data), percent=share, scope="layer", compensate=False)

        def minus_params(whole: int) -> int:  # ascending, as bisect needs it
            return -pruned(whole / 100).after.params

        share = bisect_left(range(100), -params, key=minus_params) / 100 if percent is None else percent
        plan = pruned(share).plan
        slim = netslim.apply_plan(ranked, plan)
        error = evaluate(slim, data.split("test"), data.info)
        return slim, stored.architecture, stored.plan.then(plan), {"error": error}

    pruned_net = networks.get_or_make(f"{label}: pruned by L1 norm", made_of, make, data)
    title = f"{label}: pruned by L1 norm, fine-tuned"
    return networks.train(title, data, recipe, seed=seed, start=pruned_net, teacher=teacher)


@torch.no_grad()
def _norms_for_factors(model: nn.Module) -> None:
    """Replace each scaling factor by the L1 norm of the filter before it; for plain chains of layers."""
    norms = None
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            norms = module.weight.abs().flatten(1).sum(1)
        elif isinstance(module, _BatchNorm):
            assert norms is not None, "a BatchNorm before the first layer"
            assert len(norms) == len(module.weight), "not a plain chain of layers"
            module.weight.copy_(norms)
