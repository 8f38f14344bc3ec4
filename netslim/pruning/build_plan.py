"""Build the plan: from the removed scaling factors to the kept channels of every layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.dependency.attribute_sizes import numbers_of
from netslim.dependency.equivalence import Ints
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.dependency.layer_records import NormLayer, WeightedLayer
from netslim.dependency.records import TraceRecords
from netslim.pruning.plan import ChannelIndex, LayerEdit, OutputPlacement, Plan

__all__ = ["build_plan"]

IndexOf = Callable[[Bools], ChannelIndex | None]
"""The channels that a mask keeps; None if it keeps all."""


def build_plan(graph: DependencyGraph, removed: Bools, removed_labels: Bools) -> Plan:
    """The plan that removes these scaling factors, and every channel that nothing else needs.

    Args:
        removed: bool[factors].
        removed_labels: `graph.removed_labels(removed)`.
    """
    records, kept = graph.records, ~removed_labels
    index_of_mask = cache(_index_of)  # neighbouring layers keep the same channels

    def index_of(mask: Bools) -> ChannelIndex | None:
        return index_of_mask(mask.tobytes())

    edits: dict[str, LayerEdit] = {}
    for norm, (start, stop) in zip(graph.norms, pairwise(graph.norm_starts), strict=True):
        edits |= _norm_edits(norm, ~removed[start:stop], kept, index_of)
    for layer in records.weighted_layers.values():
        edits |= _weighted_layer_edits(layer, kept, index_of)
    done = {path for norm in graph.norms for path in norm.vectors}
    done |= {path for layer in records.weighted_layers.values() for path in _edited(layer)}
    for (path, axis), labels in records.axes.items():
        index = None if path in done else index_of(kept[labels])
        if index is None:
            continue
        module = records.owning_module(path, _BatchNorm)[0] or records.owning_module(path, nn.PReLU)[0]
        edits[module or path] = LayerEdit(in_=index) if axis == 1 else LayerEdit(out=index)
    for path, sizes in _attribute_sizes(records, kept).items():
        edits[path] = replace(edits.get(path, LayerEdit()), sizes=sizes)
    return Plan(edits)


def _attribute_sizes(
    records: TraceRecords, kept: Bools
) -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    """By the path of a module, its attributes that count other numbers of channels now."""
    changed: dict[str, dict[str, list[int]]] = {}
    for key, labels in records.attribute_sizes.items():
        path, name, position = key
        count = int(kept[labels[0]].sum())
        if key not in records.used_attributes and count < labels[0].size:
            numbers = changed.setdefault(path, {})
            given = numbers_of(getattr(records.modules[path], name))
            numbers.setdefault(name, list(given))[position] = count
    return {
        path: tuple((name, tuple(values)) for name, values in numbers.items())
        for path, numbers in changed.items()
    }


def _edited(layer: WeightedLayer) -> tuple[str, ...]:
    """The parameters that the edits of a layer slice. A function may take the bias of something else."""
    return (layer.weight, f"{layer.module}.bias" if layer.module else layer.bias)


def _index_of(mask: bytes) -> ChannelIndex | None:
    kept = np.frombuffer(mask, dtype=bool)
    return None if kept.all() else ChannelIndex(kept.size, np.flatnonzero(kept))


def _norm_edits(norm: NormLayer, own: Bools, kept: Bools, index_of: IndexOf) -> dict[str, LayerEdit]:
    """The edits of one BatchNorm.

    Args:
        own: bool[width], the kept factors.
        kept: bool[labels], the kept channels.
    """
    out = index_of(own)
    if not norm.is_module:
        return {path: LayerEdit(out=out, norm=path == norm.weight) for path in norm.vectors if out}
    reads, _ = _positions(norm.input_index[own], kept[norm.input_labels])
    places, width = _positions(norm.output_index[own], kept[norm.output_labels])
    has_select = (
        norm.input_index.size < norm.input_labels.size or norm.output_index.size < norm.output_labels.size
    )
    if out is None and reads is None and places is None and not has_select:
        return {}
    placed = None if places is None else OutputPlacement(width, places, constants=bool(norm.fill))
    return {norm.path: LayerEdit(out=out, norm=True, reads=reads, places=placed)}


def _positions(chosen: Ints, kept: Bools) -> tuple[tuple[int, ...] | None, int]:
    """The positions of chosen channels in the pruned tensor, None if they are all of it; and its width.

    Args:
        chosen: int64[k], channels of the tensor before pruning.
        kept: bool[channels of the tensor].
    """
    remaining = np.flatnonzero(kept)
    if remaining.size == chosen.size and (remaining == chosen).all():
        return None, remaining.size
    assert kept[chosen].all(), "a channel that a BatchNorm needs is removed"
    return tuple(np.searchsorted(remaining, chosen).tolist()), remaining.size


def _weighted_layer_edits(layer: WeightedLayer, kept: Bools, index_of: IndexOf) -> dict[str, LayerEdit]:
    """The edits of one convolution or linear layer."""
    out, in_ = index_of(kept[layer.outputs]), index_of(kept[layer.inputs.labels])
    if out is None and in_ is None:
        return {}
    if layer.module:
        return {layer.module: LayerEdit(out=out, in_=in_)}
    first, second = (in_, out) if layer.transposed else (out, in_)
    edits = {layer.weight: LayerEdit(out=first, in_=second)}
    if layer.bias and out is not None:
        edits[layer.bias] = LayerEdit(out=out)
    return edits
