"""Layers by name or pattern: those that must stay (`keep`), and those with a share of their own (`layers`).

Patterns are those of `fnmatch`, such as "layer4.*" or "*.downsample". They are compared with the paths of all
modules. A module that contains others stands for all of them, a BatchNorm for its scaling factors, and a
convolution or linear layer for those of the BatchNorm behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise

import numpy as np

from netslim.dependency.graph import Bools, DependencyGraph
from netslim.dependency.layer_records import WeightedLayer
from netslim.errors import ConfigError, did_you_mean
from netslim.pruning.groups import ChannelGroups
from netslim.pruning.options import PruningOptions
from netslim.pruning.removal_steps import ChannelGroup

__all__ = ["check_patterns", "groups_with_shares", "keep_layers"]

Shares = Sequence[tuple[str, Fraction]]
"""Patterns with the share of each; the last one that matches a layer decides."""


def check_patterns(modules: Iterable[str], options: PruningOptions) -> None:
    """Check that each pattern matches a module, before any training.

    Args:
        modules: the paths of a network's modules.

    Raises:
        ConfigError: one does not.
    """
    paths = list(modules)
    for pattern in options.keep:
        _matched(paths, pattern, "keep", pattern)
    for pattern, share in options.shares:
        _matched(paths, pattern, "layers", _shown(pattern, share))


def keep_layers(graph: DependencyGraph, patterns: Iterable[str]) -> None:
    """Mark the scaling factors of some layers so that they stay.

    A convolution or linear layer that a pattern matches stands for every BatchNorm that reads its outputs,
    also in a sum or a concat, because a layer that must stay loses no output channel.

    Args:
        graph: reasons are added to it.
        patterns: see above.

    Raises:
        ConfigError: a pattern matches no module.
    """
    for pattern in patterns:

        def readers(layer: WeightedLayer) -> Bools:
            return np.isin(graph.input_class, graph.class_of_label[layer.outputs])

        kept = _factors(graph, _matched(graph.records.modules, pattern, "keep", pattern), readers)
        graph.keep_factors(kept, f"keep = {pattern}")


def groups_with_shares(
    graph: DependencyGraph, groups: ChannelGroups, shares: Shares
) -> tuple[tuple[ChannelGroup, ...], tuple[str, ...]]:
    """The channel groups with the shares that are given for their layers, and notes for the report.

    A group has one share: that of the last pattern that matches any layer of it. A convolution or linear
    layer stands for a BatchNorm that reads it directly: not in a sum, nor in a concat with other layers.

    Raises:
        ConfigError: a pattern matches no module, or only modules without scaling factors.
    """
    if not shares:
        return groups.groups, ()
    direct = _direct_readers(graph)
    # The number of the last pattern that matches each tied channel; -1 for none.
    decides = np.full(int(groups.tied_of_factor.max(initial=-1)) + 1, -1)
    unread = []
    for number, (pattern, share) in enumerate(shares):
        value = _shown(pattern, share)
        matched = _matched(graph.records.modules, pattern, "layers", value)
        factors = _factors(graph, matched, lambda layer: direct.get(layer.name, _none(graph)))
        if not factors.any():
            if not _has_one_output(graph, matched):
                problem = "no such layer has scaling factors that could be pruned"
                norms = [norm.path for norm in graph.norms]
                remedy = did_you_mean(pattern, norms, otherwise="Name the BatchNorm behind the layer")
                raise ConfigError(problem, field="layers", value=value, remedy=remedy)
            unread.append(number)
        decides[groups.tied_of_factor[factors]] = number
    numbers = [int(decides[groups.members[group.name]].max(initial=-1)) for group in groups.groups]
    found = tuple(
        replace(group, share=shares[number][1]) if number >= 0 else group
        for group, number in zip(groups.groups, numbers, strict=True)
    )
    notes = [
        note
        for number, (pattern, share) in enumerate(shares)
        if number not in unread
        and (note := _note(pattern, share, [g for g, of in zip(found, numbers, strict=True) if of == number]))
    ]
    return found, tuple(notes)


def _note(pattern: str, share: Fraction, decided: Sequence[ChannelGroup]) -> str:
    """A sentence on a pattern without effect, or "".

    Args:
        decided: the groups whose share it is.
    """
    if not decided:
        return f"layers = {pattern} decides on no layer: later patterns match the same layers"
    frozen = [f"{group.name} ({group.frozen})" for group in decided if group.frozen]
    if not frozen or not share:
        return ""
    more = f" and {len(frozen) - 3} more" if len(frozen) > 3 else ""
    return f"layers = {pattern} has no effect on layers that are frozen: {', '.join(frozen[:3])}{more}"


def _has_one_output(graph: DependencyGraph, modules: set[str]) -> bool:
    """Whether one of these layers has one channel left: which BatchNorm reads it is not recorded then."""
    layers = graph.records.weighted_layers.values()
    return any(layer.outputs.size == 1 and _is_inside(layer.name, modules) for layer in layers)


def _matched(modules: Iterable[str], pattern: str, field: str, value: str) -> set[str]:
    """The paths of the modules that a pattern matches."""
    paths = [path for path in modules if path]
    matched = {path for path in paths if fnmatchcase(path, pattern)}
    if not matched:
        remedy = did_you_mean(pattern, paths, otherwise="See the names in model.named_modules()")
        raise ConfigError("no layer has such a name", field=field, value=value, remedy=remedy)
    return matched


def _shown(pattern: str, share: Fraction) -> str:
    return f"{pattern}={float(share):g}"


def _factors(graph: DependencyGraph, modules: set[str], readers: Callable[[WeightedLayer], Bools]) -> Bools:
    """bool[factors]: those that some modules stand for.

    Args:
        readers: bool[factors], those that a convolution or linear layer stands for.
    """
    factors = _none(graph)
    for norm, (start, stop) in zip(graph.norms, pairwise(graph.norm_starts), strict=True):
        factors[start:stop] = _is_inside(norm.path, modules)
    for layer in graph.records.weighted_layers.values():
        if _is_inside(layer.name, modules):
            factors |= readers(layer)
    return factors


def _direct_readers(graph: DependencyGraph) -> dict[str, Bools]:
    """By the name of a layer, bool[factors]: those of a BatchNorm that reads its outputs and nothing else."""
    layers = list(graph.records.weighted_layers.values())
    layer_of_label = np.full(graph.records.label_count, -1)
    for number, layer in enumerate(layers):
        layer_of_label[layer.outputs] = number
    # The sum of a convolution's outputs and a BatchNorm's has the labels of the first operand.
    in_a_sum = np.zeros(graph.class_count, dtype=bool)
    in_a_sum[graph.output_class] = True
    readers: dict[str, Bools] = {}
    for norm, (start, stop) in zip(graph.norms, pairwise(graph.norm_starts), strict=True):
        first, *others = np.unique(layer_of_label[norm.input_labels]).tolist()
        if first < 0 or others or len(norm.conv_sources) > 1:
            continue
        # A depthwise convolution has the channels of the BatchNorm before it.
        if layers[first].depthwise or not in_a_sum[graph.input_class[start:stop]].any():
            readers.setdefault(layers[first].name, _none(graph))[start:stop] = True
    return readers


def _none(graph: DependencyGraph) -> Bools:
    return np.zeros(graph.norm_of_factor.size, dtype=bool)


def _is_inside(path: str, modules: set[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:count]) in modules for count in range(1, len(parts) + 1))
