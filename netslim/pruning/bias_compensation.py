"""Make up for what removed channels still sent.

A BatchNorm channel whose scaling factor is 0 is not silent: it sends its bias, through the activation, to
every layer that reads it. The constant is folded into the next bias, or into the running mean of the
BatchNorm behind, so that the slim network computes in eval mode what the wide one did with those factors at
0. That is exact unless the constant meets zero padding, where it is folded as its mean over all positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import Array, Floats
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.dependency.records import KernelGeometry, NormLayer, TraceRecords, WeightedLayer, to_numpy
from netslim.pruning.plan import LayerEdit, Plan

__all__ = ["BiasCorrection", "Compensation", "compensate_biases"]


@dataclass(frozen=True)
class Compensation:
    """A plan with the biases and fills it needs, what their values follow from, and where it is not exact.

    Args:
        losses: what the outputs of a layer lack, by the path of its weight.
        fills: what narrow branches send for the channels they lost, by path.
        notes: sentences for the report.
    """

    plan: Plan
    notes: tuple[str, ...]
    losses: Mapping[str, BiasCorrection]
    fills: Mapping[str, Tensor]
    records: TraceRecords

    def values(self, seen: Mapping[str, Sequence[Array]]) -> dict[str, Tensor]:
        """Tensors to use in place of the network's own, by path and as wide as those are.

        And the ones that the plan adds: a bias as wide as its layer is before, a fill as it ends up.

        Args:
            seen: by the path of a weight, what `BiasCorrection.of` made of all its rows that stay, where
            that is known.
        """
        records, values = self.records, dict(self.fills)
        missing = np.zeros(
            records.label_count + 1
        )  # what each output of a layer lacks, by label; none is the last
        for path, loss in self.losses.items():
            read, lacks = loss.read, loss.lacks(seen.get(path, ()))
            if read.bias:
                values[read.bias] = _plus(records.values[read.bias], lacks)
            elif read.module and self.plan.layers[read.module].bias:
                values[f"{read.module}.bias"] = torch.from_numpy(lacks)
            else:
                missing[read.outputs] = lacks
        for norm in records.norms.values():
            for term in norm.conv_sources:
                offset = missing[term]
                if offset.any():
                    values[norm.mean] = _plus(values.get(norm.mean, records.values[norm.mean]), -offset)
        return values


class BiasCorrection:
    """What the outputs of one layer lack once inputs are gone that sent constants: the mean over positions.

    Args:
        weight: of the layer.
        sent: float64[inputs], 0 for those that stay.
        stays: bool[outputs].
    """

    def __init__(self, read: WeightedLayer, weight: Tensor, sent: Floats, stays: Bools) -> None:
        self.read, self.weight, self.stays = read, weight.detach(), stays
        shares = _shares(read.geometry, weight.shape[2:], read.transposed) if read.geometry else np.ones(1)
        wave = torch.from_numpy(np.multiply.outer(sent, shares).reshape(read.groups, -1, 1))
        self.wave = wave.to(torch.float64 if weight.dtype == torch.float64 else torch.float32)

    @property
    def by_rows(self) -> bool:
        """The weight has one row for each output, and each reads all inputs."""
        return self.read.groups == 1 and not self.read.transposed

    def of(self, rows: Tensor) -> Array:
        """What some outputs lack, from their rows of the weight."""
        lacks: Array = (rows.to(self.wave).reshape(1, len(rows), -1) @ self.wave).numpy().ravel()
        return lacks

    def lacks(self, seen: Sequence[Array]) -> Floats:
        """float64[outputs]; those that go may have any value.

        Args:
            seen: what they lack that stay, piece by piece; if empty, the weight is read here.
        """
        lacks = np.zeros(self.stays.size)
        if seen:
            lacks[self.stays] = np.concatenate(seen)
            return lacks
        groups, kernel = self.read.groups, self.weight.to(self.wave).numpy()
        if self.read.transposed:  # (inputs, outputs of a group, geometry)
            kernel = kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(1, 2)
        # By numpy, whose products of a matrix and a vector are fast in groups, too.
        lacks[:] = (kernel.reshape(groups, -1, self.wave.shape[1]) @ self.wave.numpy()).ravel()
        return lacks


def compensate_biases(
    structure: DependencyGraph, removed: Bools, gone: Bools, plan: Plan, *, biases: bool
) -> Compensation:
    """Fold what the removed positions sent into what stays.

    Args:
        gone: `structure.removed_labels(removed)`.
        plan: `cut(structure, removed, gone)`.
        biases: True to fold what a channel sends with its scaling factor at 0. False to fold what it sends
            with its bias at 0 as well, which is nothing unless an activation makes something of 0.
    """
    records = structure.records
    leaks = np.zeros(records.label_count + 1, dtype=bool)
    for term in records.uncompensated_sources:
        leaks[term] = True
    layers = dict(plan.layers)
    losses: dict[str, BiasCorrection] = {}
    rough, lost = [], []
    for read in records.weighted_layers.values():
        if read.depthwise:
            continue
        lost_inputs = gone[read.inputs.labels]
        if not lost_inputs.any():
            continue
        sent = np.where(
            lost_inputs, read.inputs.value_with_bias if biases else read.inputs.value_without_bias, 0.0
        )
        layer = read.module or read.weight
        if np.isnan(sent).any():
            lost.append(layer)
            sent = np.nan_to_num(sent)
        if not sent.any():
            continue
        if read.has_border_effects or not read.inputs.exact:
            rough.append(layer)
        if not read.bias and leaks[read.outputs].any():
            if not read.standard:
                lost.append(layer)
                continue
            layers[read.module] = replace(layers[read.module], bias=True)
        losses[read.weight] = BiasCorrection(read, records.values[read.weight], sent, ~gone[read.outputs])
    fills: dict[str, Tensor] = {}
    if biases:
        for norm, (start, stop) in zip(structure.norms, pairwise(structure.norm_starts), strict=True):
            _fill(structure, norm, removed[start:stop], gone, layers, fills)
    notes = []
    if rough:
        notes.append(f"compensated on average, for zero padding meets the constant: {_listed(rough)}")
    if lost:
        notes.append(f"not compensated, for what was removed there is no constant: {_listed(lost)}")
    return Compensation(Plan(layers), tuple(notes), losses, fills, records)


@lru_cache(maxsize=256)
def _shares(geometry: KernelGeometry, kernel: tuple[int, ...], transposed: bool) -> Floats:
    """For each tap of the kernel, the share of the output positions for which it lies inside the input."""
    if transposed:  # each input position reaches one output position through each tap
        return np.full(kernel, math.prod(geometry.input_size) / math.prod(geometry.output_size))
    shares = np.ones(())
    for axis, width in enumerate(kernel):
        at = np.arange(geometry.output_size[axis])[:, None] * geometry.stride[axis] - geometry.padding[axis]
        at = at + np.arange(width) * geometry.dilation[axis]
        inside = ((at >= 0) & (at < geometry.input_size[axis])).mean(axis=0)
        shares = shares[..., None] * inside
    return shares


def _fill(
    structure: DependencyGraph,
    norm: NormLayer,
    removed: Bools,
    gone: Bools,
    layers: dict[str, LayerEdit],
    fills: dict[str, Tensor],
) -> None:
    """A narrow branch goes on sending the constants of the channels it lost."""
    edit = layers.get(norm.path)
    if edit is None or edit.places is None or not norm.bias:
        return
    bias = structure.records.values_of(norm.bias)
    fill = np.zeros(norm.output_labels.size)
    if norm.fill:
        fill += structure.records.values_of(norm.fill)
    fill[norm.output_index[removed]] += bias[removed]
    fill = fill[~gone[norm.output_labels]]
    if fill.any():
        layers[norm.path] = replace(edit, places=replace(edit.places, fill=True))
        fills[f"{norm.path}.fill"] = torch.from_numpy(fill)


def _plus(tensor: Tensor, change: Floats) -> Tensor:
    return torch.from_numpy(to_numpy(tensor) + change).to(tensor)


def _listed(layers: list[str]) -> str:
    shown = ", ".join(layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"
