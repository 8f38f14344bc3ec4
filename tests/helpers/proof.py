"""The truth about a pruned network, found a second way: the wide network with factors set to 0 by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import netslim
from netslim.pruning.plan import Plan

__all__ = ["gammas_at_zero", "masked", "outputs", "prove", "relative", "settled", "widths"]


def settled(model: nn.Module, *inputs: Tensor, seed: int = 0) -> nn.Module:
    """In float64 and eval mode, with random factors and biases, and statistics near the real ones."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        if norm.affine:
            norm.weight.data = torch.rand(norm.weight.shape, generator=generator).double() + 0.1
            norm.bias.data = torch.randn(norm.bias.shape, generator=generator).double() * 0.3
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(*inputs)
    for norm in norms:
        norm.momentum = 0.1
        if norm.running_mean is not None:
            norm.running_mean += 0.1 * torch.randn(norm.running_mean.shape, generator=generator)
    return model.eval()


def masked(model: nn.Module, kept: Mapping[str, Sequence[int]], shift: int = 0) -> nn.Module:
    """A copy with gamma = beta = 0 on every channel that is not kept, `shift` channels further on."""
    model = copy.deepcopy(model)
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    for path, indices in kept.items():
        vectors = (
            [f"{path}.weight", f"{path}.bias"] if path in modules else [path, path.replace("gamma", "beta")]
        )
        for vector in vectors:
            gone = torch.ones(parameters[vector].shape, dtype=torch.bool)
            gone[list(indices)] = False
            parameters[vector].data[gone.roll(shift)] = 0
    return model


def gammas_at_zero(model: nn.Module, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy with gamma = 0 on every channel that is not kept; its beta stays, for compensation to keep."""
    model = copy.deepcopy(model)
    for path, indices in kept.items():
        name = path if path.endswith("gamma") else f"{path}.weight"
        gamma = model.get_parameter(name)
        gone = torch.ones(gamma.shape, dtype=torch.bool)
        gone[list(indices)] = False
        gamma.data[gone] = 0
    return model


def outputs(model: nn.Module, *inputs: Tensor) -> Tensor:
    """All outputs in one vector."""
    with torch.no_grad():
        result = model(*inputs)
    if isinstance(result, dict):
        result = list(result.values())
    tensors = result if isinstance(result, (tuple, list)) else [result]
    return torch.cat([tensor.flatten() for tensor in tensors])


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def widths(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every weight that is a matrix or more, by the path of its layer in the wide network."""
    shapes = {
        name: tuple(parameter.shape) for name, parameter in model.named_parameters() if parameter.dim() > 1
    }
    return {name.removesuffix(".weight"): shape for name, shape in shapes.items()}


def prove(
    model: nn.Module, *inputs: Tensor, percent: Any = 0.5, control: bool = True, **options: Any
) -> netslim.PruneResult:
    """Prune without compensation and compare the result with the masked network.

    Both are equal in eval and in train mode, the given network is not changed, and the plan alone rebuilds
    the structure. As a control, a mask that is one channel off must give other outputs.
    """
    before = copy.deepcopy(model)
    example = inputs if len(inputs) > 1 else inputs[0]
    result = netslim.prune(model, example, percent=percent, compensate=False, **options)
    assert [module.training for module in model.modules()] == [module.training for module in before.modules()]
    for (name, value), (_, old) in zip(model.state_dict().items(), before.state_dict().items(), strict=True):
        assert torch.equal(value, old), name
    kept = result.plan.kept
    truth = masked(model, kept)
    assert relative(outputs(result.model, *inputs), outputs(truth, *inputs)) < 1e-11
    if kept and control:
        wrong = masked(model, kept, shift=1)
        assert relative(outputs(wrong, *inputs), outputs(truth, *inputs)) > 1e-4
    rebuilt = netslim.apply_plan(before, Plan.from_json(result.plan.to_json()))
    rebuilt.load_state_dict(result.model.state_dict())
    assert torch.equal(outputs(rebuilt, *inputs), outputs(result.model, *inputs))
    slim = copy.deepcopy(result.model).train()
    assert relative(outputs(slim, *inputs), outputs(truth.train(), *inputs)) < 1e-9
    return result
