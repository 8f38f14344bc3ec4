"""Weights that hooks compute before each call: `weight_norm`, `spectral_norm` and the masks of
`torch.nn.utils`.

Hooks are not copied, so a slim network would keep the last computed weight, and train nothing. A network with
such hooks is replaced by one with plain weights of the same values. (The newer
`torch.nn.utils.parametrizations` need no hooks; they are followed like any other code.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from netslim.errors import ModelError
from netslim.nn.module_copy import ModuleIndex, copy_module

__all__ = ["with_plain_weights"]


def with_plain_weights(index: ModuleIndex) -> tuple[ModuleIndex, tuple[str, ...]]:
    """The network with plain weights in place of those that hooks compute, and the names of these weights.

    The network itself if no hook computes a weight; else a copy that shares all other tensors with it.

    Raises:
        ModelError: a hook of another kind computes a weight.
    """
    computed = _computed_weights(index)
    if not computed:
        return index, ()
    copies: dict[int, Any] = {id(tensor): tensor for tensor in index.tensors.values()}
    plain = copy_module(index, copies)
    for path, (name, values, extra) in computed.items():
        module = plain.get_submodule(path.rpartition(".")[0])
        for other in (name, *extra):
            if hasattr(module, other):
                delattr(module, other)
        module.register_parameter(name, nn.Parameter(values))
    return ModuleIndex.of(plain), tuple(computed)


def _computed_weights(index: ModuleIndex) -> dict[str, tuple[str, Tensor, tuple[str, ...]]]:
    """By the path of each weight: its name, its values, and the tensors that it is computed from."""
    computed: dict[str, tuple[str, Tensor, tuple[str, ...]]] = {}
    for path, module in index.modules.items():
        for hook in vars(module)["_forward_pre_hooks"].values():
            extra: tuple[str, ...]
            if isinstance(hook, WeightNorm):
                name = hook.name
                extra = (f"{name}_g", f"{name}_v")
                values = hook.compute_weight(module)
            elif isinstance(hook, SpectralNorm):
                name = hook.name
                extra = (f"{name}_orig", f"{name}_u", f"{name}_v", f"{name}_sigma")
                with torch.no_grad():
                    values = hook.compute_weight(module, do_power_iteration=False)
            elif isinstance(hook, BasePruningMethod):
                name = str(vars(hook)["_tensor_name"])
                extra = (f"{name}_orig", f"{name}_mask")
                values = hook.apply_mask(module)  # type: ignore[no-untyped-call]
            else:
                continue
            computed[f"{path}.{name}" if path else name] = (name, values.detach().clone(), extra)
        is_plain_attribute = isinstance(vars(module).get("weight"), Tensor)
        name = f"{path}.weight" if path else "weight"
        if is_plain_attribute and vars(module)["_forward_pre_hooks"] and name not in computed:
            problem = "it is computed by a hook, which the slim model would not have"
            remedy = "Make it a parameter, and remove the hook, before pruning"
            raise ModelError(problem, field=name, remedy=remedy)
    return computed
