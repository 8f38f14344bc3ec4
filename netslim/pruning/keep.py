"""Layers that must not be pruned, by patterns of their names."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import pairwise

import numpy as np

from netslim.dependency.graph import DependencyGraph
from netslim.errors import ConfigError, did_you_mean

__all__ = ["keep_layers"]


def keep_layers(graph: DependencyGraph, patterns: Iterable[str]) -> None:
    """Mark the scaling factors of some layers so that they stay.

    These are the factors of each BatchNorm that a pattern matches, and those of each BatchNorm that reads a
    convolution or linear layer that it matches, directly. A pattern that matches a module that contains
    others stands for all of them.

    Args:
        graph: reasons are added to it.
        patterns: as in `fnmatch`, such as "layer4.*" or "*.downsample".

    Raises:
        ConfigError: a pattern matches no module.
    """
    modules = [path for path in graph.records.modules if path]
    for pattern in patterns:
        matched = {path for path in modules if fnmatchcase(path, pattern)}
        if not matched:
            remedy = did_you_mean(pattern, modules, otherwise="See the names in model.named_modules()")
            raise ConfigError("no layer has such a name", field="keep", value=pattern, remedy=remedy)
        kept = np.zeros(graph.norm_of_factor.size, dtype=bool)
        for norm, (start, stop) in zip(graph.norms, pairwise(graph.norm_starts), strict=True):
            kept[start:stop] = _is_inside(norm.path, matched)
        for layer in graph.records.weighted_layers.values():
            if _is_inside(layer.name, matched):
                kept |= np.isin(graph.input_class, graph.class_of_label[layer.outputs])
        graph.keep_factors(kept, f"keep = {pattern}")


def _is_inside(path: str, modules: set[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts) + 1))
