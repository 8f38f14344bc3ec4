"""From the channels that go to the plan: what every layer keeps, and where selections stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.dependency.equivalence import Ints
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.dependency.records import NormLayer, WeightedLayer
from netslim.pruning.plan import ChannelIndex, LayerEdit, OutputPlacement, Plan

__all__ = ["build_plan"]

Keeps = Callable[[Bools], ChannelIndex | None]


def build_plan(structure: DependencyGraph, removed: Bools, gone: Bools) -> Plan:
    """The plan that removes these positions and all that only they needed.

    Args:
        removed: bool[positions].
        gone: `structure.removed_labels(removed)`.
    """
    records, stays = structure.records, ~gone
    known = cache(_keep)  # what stays is the same for most layers in a row

    def keep(those: Bools) -> ChannelIndex | None:
        return known(those.tobytes())

    edits: dict[str, LayerEdit] = {}
    for norm, (start, stop) in zip(structure.norms, pairwise(structure.norm_starts), strict=True):
        edits |= _norm_edits(norm, ~removed[start:stop], stays, keep)
    for read in records.weighted_layers.values():
        edits |= _read_edits(read, stays, keep)
    done = {path for norm in structure.norms for path in norm.vectors}
    done |= {path for read in records.weighted_layers.values() for path in (read.weight, read.bias)}
    for (path, axis), labels in records.axes.items():
        kept = None if path in done else keep(stays[labels])
        if kept is None:
            continue
        layer = records.owning_module(path, _BatchNorm)[0] or records.owning_module(path, nn.PReLU)[0]
        edits[layer or path] = LayerEdit(into=kept) if axis == 1 else LayerEdit(out=kept)
    return Plan(edits)


def _keep(mask: bytes) -> ChannelIndex | None:
    """The channels that stay, by a mask; None for all."""
    stays = np.frombuffer(mask, dtype=bool)
    return None if stays.all() else ChannelIndex(stays.size, np.flatnonzero(stays))


def _norm_edits(norm: NormLayer, own: Bools, stays: Bools, keep: Keeps) -> dict[str, LayerEdit]:
    out = keep(own)
    if not norm.is_module:
        return {path: LayerEdit(out=out, norm=path == norm.weight) for path in norm.vectors if out}
    reads, _ = _seats(norm.input_index[own], stays[norm.input_labels])
    places, width = _seats(norm.output_index[own], stays[norm.output_labels])
    had = norm.input_index.size < norm.input_labels.size or norm.output_index.size < norm.output_labels.size
    if out is None and reads is None and places is None and not had:
        return {}
    placed = None if places is None else OutputPlacement(width, places, fill=bool(norm.fill))
    return {norm.path: LayerEdit(out=out, norm=True, reads=reads, places=placed)}


def _seats(chosen: Ints, stays: Bools) -> tuple[tuple[int, ...] | None, int]:
    """Where the chosen channels of a tensor are once it is narrower, None if they are all; and its width."""
    left = np.flatnonzero(stays)
    if left.size == chosen.size and (left == chosen).all():
        return None, left.size
    assert stays[chosen].all(), "a channel vanishes that a BatchNorm needs"
    return tuple(np.searchsorted(left, chosen).tolist()), left.size


def _read_edits(read: WeightedLayer, stays: Bools, keep: Keeps) -> dict[str, LayerEdit]:
    out, into = keep(stays[read.outputs]), keep(stays[read.inputs.labels])
    if out is None and into is None:
        return {}
    if read.module:
        return {read.module: LayerEdit(out=out, into=into)}
    edits = {read.weight: LayerEdit(out=into, into=out) if read.transposed else LayerEdit(out=out, into=into)}
    if read.bias and out is not None:
        edits[read.bias] = LayerEdit(out=out)
    return edits
