"""Make up for what removed channels still sent.

A BatchNorm channel whose scaling factor is 0 is not silent: it sends its bias, through the activation, to
every layer that reads it. The constant is folded into the next bias, or into the running mean of the
BatchNorm behind, so that the slim network computes in eval mode what the wide one did with those factors at
0. That is exact unless the constant meets zero padding, where it is folded as its mean over all positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import DataError
from netslim.graph.channels import Floats
from netslim.graph.facts import Norm, Read, Taps, numbers_of
from netslim.graph.structure import Bools, Structure
from netslim.plan import Edit, Plan

__all__ = ["Folded", "fold", "recalibrate"]


@dataclass(frozen=True)
class Folded:
    """A plan with the biases and fills it needs, their values, and where folding was not exact.

    Args:
        values: tensors to use in place of the network's own, by path; see `surgery.operate`.
        notes: sentences for the report.
    """

    plan: Plan
    values: Mapping[str, Tensor]
    notes: tuple[str, ...]


def fold(structure: Structure, removed: Bools, gone: Bools, plan: Plan, *, biases: bool) -> Folded:
    """Fold what the removed positions sent into what stays.

    Args:
        gone: `structure.gone(removed)`.
        plan: `cut(structure, removed, gone)`.
        biases: True to fold what a channel sends with its scaling factor at 0. False to fold what it sends
            with its bias at 0 as well, which is nothing unless an activation makes something of 0.
    """
    facts = structure.facts
    missing = np.zeros(facts.labels + 1)  # what each output of a layer lacks, by label; none is the last
    leaks = np.zeros(facts.labels + 1, dtype=bool)
    for term in facts.leaked:
        leaks[term] = True
    values: dict[str, Tensor] = {}
    layers = dict(plan.layers)
    rough, lost = [], []
    for read in facts.reads.values():
        if read.depthwise:
            continue
        lost_inputs = gone[read.inputs.labels]
        if not lost_inputs.any():
            continue
        sent = np.where(lost_inputs, read.inputs.constant if biases else read.inputs.masked, 0.0)
        layer = read.module or read.weight
        if np.isnan(sent).any():
            lost.append(layer)
            sent = np.nan_to_num(sent)
        if not sent.any():
            continue
        if read.bordered or not read.inputs.exact:
            rough.append(layer)
        lacks = _response(facts.values[read.weight], read, sent)
        if read.bias:
            values[read.bias] = _plus(facts.values[read.bias], lacks)
        elif not leaks[read.outputs].any():
            missing[read.outputs] = lacks
        elif read.standard:
            layers[read.module] = replace(layers[read.module], bias=True)
            values[f"{read.module}.bias"] = torch.from_numpy(lacks)
        else:
            lost.append(layer)
    for norm, start in zip(structure.norms, structure.starts, strict=False):
        for term in norm.terms:
            offset = missing[term]
            if offset.any():
                values[norm.mean] = _plus(values.get(norm.mean, facts.values[norm.mean]), -offset)
        if biases:
            _fill(structure, norm, removed[start : start + norm.width], gone, layers, values)
    notes = []
    if rough:
        notes.append(f"compensated on average, for zero padding meets the constant: {_listed(rough)}")
    if lost:
        notes.append(f"not compensated, for what was removed there is no constant: {_listed(lost)}")
    return Folded(Plan(layers), values, tuple(notes))


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate the running statistics of every BatchNorm anew, as the mean over batches; in place.

    Everything else is in eval mode meanwhile; afterwards each module is in the mode it was in.

    Args:
        batches: inputs as the model takes them, float32[N, ...] for most; N above 1.

    Raises:
        DataError: there is no batch.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    try:
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
            norm.train()
        with torch.no_grad():
            for batch in batches:
                model(batch)
                seen += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode
    if not seen:
        raise DataError("there is none", field="batches", remedy="Give at least one batch of inputs")


def _response(weight: Tensor, read: Read, sent: Floats) -> Floats:
    """What a layer makes of constant inputs `sent`: float64[outputs], the mean over positions."""
    kind = weight.dtype if weight.dtype in (torch.float32, torch.float64) else torch.float32
    kernel = weight.detach().to(kind)
    inputs = torch.from_numpy(sent).to(kernel)
    if read.taps is None or (read.groups == 1 and not read.bordered and kernel[0, 0].numel() == 1):
        return numbers_of(kernel.flatten(1) @ inputs)
    shares = torch.tensor(_shares(read.taps, tuple(kernel.shape[2:]), read.transposed)).to(kernel).reshape(-1)
    if read.transposed:  # (inputs, outputs of a group, taps)
        taps = (kernel.flatten(2) @ shares).reshape(read.groups, -1, kernel.shape[1]).transpose(1, 2)
        return numbers_of((taps @ inputs.reshape(read.groups, -1, 1)).flatten())
    wave = (inputs.reshape(read.groups, -1, 1) * shares).reshape(read.groups, -1, 1)
    return numbers_of((kernel.reshape(read.groups, -1, wave.shape[1]) @ wave).flatten())


@lru_cache(maxsize=256)
def _shares(taps: Taps, kernel: tuple[int, ...], transposed: bool) -> Floats:
    """For each tap of the kernel, the share of the output positions for which it lies inside the input."""
    if transposed:  # each input position reaches one output position through each tap
        return np.full(kernel, math.prod(taps.size) / math.prod(taps.out))
    shares = np.ones(())
    for axis, width in enumerate(kernel):
        at = np.arange(taps.out[axis])[:, None] * taps.stride[axis] - taps.padding[axis]
        at = at + np.arange(width) * taps.dilation[axis]
        inside = ((at >= 0) & (at < taps.size[axis])).mean(axis=0)
        shares = shares[..., None] * inside
    return shares


def _fill(
    structure: Structure,
    norm: Norm,
    removed: Bools,
    gone: Bools,
    layers: dict[str, Edit],
    values: dict[str, Tensor],
) -> None:
    """A narrow branch goes on sending the constants of the channels it lost."""
    edit = layers.get(norm.path)
    if edit is None or edit.places is None or not norm.bias:
        return
    bias = structure.facts.numbers(norm.bias)
    fill = np.zeros(norm.fed.size)
    if norm.fill:
        fill += structure.facts.numbers(norm.fill)
    fill[norm.places[removed]] += bias[removed]
    fill = fill[~gone[norm.fed]]
    if fill.any():
        layers[norm.path] = replace(edit, places=replace(edit.places, fill=True))
        values[f"{norm.path}.fill"] = torch.from_numpy(fill)


def _plus(tensor: Tensor, change: Floats) -> Tensor:
    return (tensor.detach().double() + torch.from_numpy(change).to(tensor.device)).to(tensor.dtype)


def _listed(layers: list[str]) -> str:
    shown = ", ".join(layers[:3])
    return shown if len(layers) <= 3 else f"{shown} and {len(layers) - 3} more"
