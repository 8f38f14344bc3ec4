"""Compare a slim network with the masked network on random inputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netslim.errors import ModelError
from netslim.nn._torch import tree_leaves, tree_map_only
from netslim.nn.module_copy import ModuleIndex, copy_module
from netslim.nn.own_rules import registered_rules
from netslim.pruning.plan import Plan

__all__ = ["verify_pruning"]

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""The greatest difference that is rounding, as a share of the greatest output, by dtype; 0.05 for others."""

_ROUNDED_BIASES = {torch.float64: 0.0, torch.float32: 1e-4}
"""The same for biases that compensation rounded to the dtype of the network's parameters."""


def verify_pruning(
    wide: ModuleIndex, plan: Plan, example_input: Any, plain: nn.Module, exact: nn.Module | None
) -> tuple[str, ...]:
    """Compare slim networks with the wide network whose removed scaling factors are 0. No network is changed.

    In float64 where the networks run in it, else in the dtype that they have.

    Args:
        plan: what was removed.
        example_input: only shapes and dtypes count, and the values of integers.
        plain: the slim network without compensation; there, beta is 0 as well.
        exact: the slim network with compensation, if it is exact in every layer; else None.

    Returns:
        A note if nothing could be compared, because outputs are random or not finite.

    Raises:
        ModelError: the outputs differ.
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    for slim, with_beta in ((plain, True), (exact, False)):
        if slim is None:
            continue
        masked = _masked(wide, plan, with_beta=with_beta)
        outputs = None
        for dtype in (torch.float64, None):
            outputs = _outputs((masked, masked, slim), inputs, dtype)
            if outputs is not None:
                break
        if outputs is None:
            return ("not verified, because the masked network does not run on random inputs",)
        truth, again, found = outputs
        if not torch.equal(truth, again) or not truth.isfinite().all():
            return ("not verified, because the outputs of the wide network are random or not finite",)
        difference = _difference(found, truth)
        tolerance = _TOLERANCE.get(truth.dtype, 0.05)
        if slim is exact:
            dtypes = {tensor.dtype for tensor in slim.parameters()}
            tolerance = max(tolerance, *(_ROUNDED_BIASES.get(dtype, 0.05) for dtype in dtypes))
        if not difference <= tolerance:
            problem = f"the slim network computes something else than the masked one (by {difference:.1%})"
            remedy = "This is a bug of netslim: please report it, with the code of the network"
            if rules := registered_rules():
                remedy = f"Check that your rules are right: {rules}"
            raise ModelError(problem, field="model", remedy=remedy)
    return ()


def _difference(found: Tensor, truth: Tensor) -> float:
    """The greatest difference, as a share of the greatest value."""
    if found.shape != truth.shape:
        return math.inf
    if not truth.numel():
        return 0.0
    return float((found - truth).abs().max() / truth.abs().max().clamp_min(1e-30))


def _copy(network: ModuleIndex) -> nn.Module:
    copies: dict[int, Any] = {}
    for tensor in network.tensors.values():
        data = tensor.detach().clone()
        copies[id(tensor)] = nn.Parameter(data) if isinstance(tensor, nn.Parameter) else data
    return copy_module(network, copies)


def _masked(wide: ModuleIndex, plan: Plan, *, with_beta: bool) -> nn.Module:
    """A copy of the wide network with gamma (and beta) at 0 where they are removed."""
    model = _copy(wide)
    tensors = dict(model.named_parameters())
    for path, kept in plan.kept.items():
        for name in (f"{path}.weight", f"{path}.bias" if with_beta else "", path):
            if (vector := tensors.get(name)) is not None:
                removed = torch.ones(vector.shape, dtype=torch.bool)
                removed[list(kept)] = False
                vector.data[removed.to(vector.device)] = 0
    return model


def _outputs(
    models: tuple[nn.Module, ...], inputs: tuple[Any, ...], dtype: torch.dtype | None
) -> list[Tensor] | None:
    """The outputs of each network in eval mode, as a vector; None if one of them does not run in `dtype`."""
    results = []
    try:
        with torch.no_grad(), torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, model in enumerate(models):
                copy = _copy(ModuleIndex.of(model)).to(dtype=dtype).eval()
                device = next(copy.parameters()).device
                torch.manual_seed(0)
                given = tree_map_only(Tensor, lambda value: _random(value, device, dtype), inputs)  # noqa: B023
                torch.manual_seed(number % 2)  # so that a network with random outputs is recognised
                tensors = [value for value in _tensors(copy(*given)) if value.is_floating_point()]
                results.append(torch.cat([value.flatten() for value in tensors]))
    except Exception:
        return None
    return results


def _random(value: Tensor, device: torch.device, dtype: torch.dtype | None) -> Tensor:
    if value.is_floating_point():
        return torch.randn(value.shape, dtype=torch.float64).to(device, dtype or value.dtype)
    return torch.zeros(value.shape, dtype=value.dtype, device=device) if value.is_meta else value.to(device)


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in nested outputs, also in dataclasses and in objects of the user's own."""
    found: list[Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found += _tensors(list(leaf.values()))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += _tensors([getattr(leaf, item.name) for item in fields(leaf)])
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, (nn.Module, type)):
            found += _tensors(list(vars(leaf).values()))
    return found
