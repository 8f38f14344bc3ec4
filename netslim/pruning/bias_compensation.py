"""Bias compensation: add the constants of removed channels to the biases of the layers that read them.

A BatchNorm channel whose scaling factor is 0 still has a value: its bias, after the activation, at every
position. For a layer with weight W that reads such channels j with values s_j, the removed inputs are the
constant sum_j W[:, j] * s_j in each output, and the slim network computes the same with

    b' = b + sum over removed j of W[:, j] * s_j

If the layer has no bias, the constant is subtracted from the running mean of the BatchNorm behind it, or a
bias is added. In eval mode this equals the wide network with those scaling factors at 0, exactly, unless a
convolution pads its input with zeros: near the border some kernel taps read padding, not the constant. There
W[:, j] is weighted by the share of positions at which a tap is inside the input, so the mean over all
positions is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import Floats
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.dependency.layer_records import NormLayer
from netslim.dependency.records import TraceRecords, to_numpy
from netslim.pruning.bias_correction import BiasCorrection
from netslim.pruning.plan import LayerEdit, OutputPlacement, Plan

__all__ = ["BiasCorrection", "Compensation", "compensate_biases"]


@dataclass(frozen=True)
class Compensation:
    """A plan with the biases and constants that compensation needs, and their values.

    Args:
        plan: the plan, with added biases and constants.
        notes: where compensation is not exact, as sentences for the report.
        corrections: by the path of a layer's weight.
        constants: for each BatchNorm with a `fill`, float64[width], by the path of the buffer.
    """

    plan: Plan
    notes: tuple[str, ...]
    corrections: Mapping[str, BiasCorrection]
    constants: Mapping[str, Tensor]
    records: TraceRecords

    def values(self) -> dict[str, Tensor]:
        """Tensors that replace those of the network, by path: as wide as these, before they are sliced.

        Biases that the plan adds are as wide as their layer is before, constants as wide as they are after.
        """
        records, values = self.records, dict(self.constants)
        uncorrected = np.zeros(records.label_count + 1)  # by output label; the label -1 stands for no source
        for correction in self.corrections.values():
            layer, offset = correction.layer, correction.offset()
            if layer.bias:
                values[layer.bias] = _plus(records.values_of(layer.bias), offset, records.values[layer.bias])
            elif layer.module and self.plan.layers[layer.module].bias:
                values[f"{layer.module}.bias"] = torch.from_numpy(offset)
            else:
                uncorrected[layer.outputs] = offset
        for norm in records.norms.values():
            for source in norm.conv_sources:
                offset = uncorrected[source]
                if np.count_nonzero(offset):
                    before = (
                        to_numpy(values[norm.mean]) if norm.mean in values else records.values_of(norm.mean)
                    )
                    values[norm.mean] = _plus(before, -offset, records.values[norm.mean])
        return values


def compensate_biases(
    graph: DependencyGraph, removed: Bools, removed_labels: Bools, plan: Plan, *, biases: bool
) -> Compensation:
    """Find the corrections that removed channels need, and extend the plan by the biases they are added to.

    Args:
        removed: bool[factors].
        removed_labels: `graph.removed_labels(removed)`.
        plan: `build_plan(graph, removed, removed_labels)`.
        biases: True to keep the value that a channel has with its scaling factor at 0. False to keep the
            value with its bias at 0 as well, which is 0 unless an activation maps 0 to something else.
    """
    records = graph.records
    needs_bias = np.zeros(records.label_count + 1, dtype=bool)
    for source in records.uncompensated_sources:
        needs_bias[source] = True
    edits = dict(plan.layers)
    corrections: dict[str, BiasCorrection] = {}
    on_average, lost, without_bias = [], [], []
    for layer in records.weighted_layers.values():
        removed_inputs = removed_labels[layer.inputs.labels]
        if layer.depthwise or not np.count_nonzero(removed_inputs):
            continue
        values = layer.inputs.value_with_bias if biases else layer.inputs.value_without_bias
        removed_values = np.where(removed_inputs, values, 0.0)
        if np.count_nonzero(np.isnan(removed_values)):  # not a constant
            lost.append(layer.name)
            removed_values = np.nan_to_num(removed_values)
        if not np.count_nonzero(removed_values):
            continue
        if layer.has_border_effects or not layer.inputs.exact:
            on_average.append(layer.name)
        if not layer.bias and needs_bias[layer.outputs].any():
            if not layer.standard:
                without_bias.append(layer.name)
                continue
            edits[layer.module] = replace(edits[layer.module], bias=True)
        weight, kept = records.values[layer.weight].detach(), ~removed_labels[layer.outputs]
        corrections[layer.weight] = BiasCorrection(layer, weight, removed_values, kept)
    constants = _constants(graph, removed, removed_labels, edits, biases=biases)
    notes = []
    if on_average:
        names = _listed(on_average)
        notes.append(f"compensated on average, because the input is padded with zeros: {names}")
    if lost:
        notes.append(f"not compensated, because the removed input is not a constant: {_listed(lost)}")
    if without_bias:
        names = _listed(without_bias)
        notes.append(f"not compensated, because the model uses no bias that only this layer has: {names}")
    return Compensation(Plan(edits), tuple(notes), corrections, constants, records)


def _constants(
    graph: DependencyGraph,
    removed: Bools,
    removed_labels: Bools,
    edits: dict[str, LayerEdit],
    *,
    biases: bool,
) -> dict[str, Tensor]:
    """The constants in wider tensors, by path; `edits` is changed where there are any.

    Those of an earlier pass are part of the given network, so they stay in any case; with `biases`, those of
    the removed channels are added.
    """
    constants: dict[str, Tensor] = {}
    for norm, (start, stop) in zip(graph.norms, pairwise(graph.norm_starts), strict=True):
        edit = edits.get(norm.path)
        if edit is None or edit.places is None:
            continue
        values = _output_constants(graph.records, norm, removed[start:stop], biases=biases)
        values = values[~removed_labels[norm.output_labels]]
        if values.any():
            places = OutputPlacement(edit.places.width, edit.places.channels, constants=True)
            edits[norm.path] = replace(edit, places=places)
            constants[f"{norm.path}.fill"] = torch.from_numpy(values)
    return constants


def _output_constants(records: TraceRecords, norm: NormLayer, removed: Bools, *, biases: bool) -> Floats:
    """float64[channels of the tensor]: constants of an earlier pass, and the biases of removed channels."""
    values = np.zeros(norm.output_labels.size)
    if norm.fill:
        values += records.values_of(norm.fill)
    if biases and norm.bias:
        values[norm.output_index[removed]] += records.values_of(norm.bias)[removed]
    return values


def _plus(values: Floats, change: Floats, like: Tensor) -> Tensor:
    return torch.from_numpy(values + change).to(like)


def _listed(layers: list[str]) -> str:
    shown = ", ".join(layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"
