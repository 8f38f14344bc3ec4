"""Refuse what is not a network, or not an example input, in one sentence that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from netslim.errors import ModelError
from netslim.nn._torch import tree_leaves

__all__ = ["check_example", "check_model", "check_modules"]


def check_model(model: object) -> None:
    """Check that this is a network.

    Raises:
        ModelError: it is not.
    """
    if not isinstance(model, nn.Module):
        kind = f"a {type(model).__name__}"
        if isinstance(model, type):
            kind, remedy = "a class", f"Give an object of it, such as {model.__name__}()"
        elif isinstance(model, Mapping):
            remedy = "Build the network, and load its state dict into it"
        else:
            remedy = "Give an nn.Module"
        raise ModelError(f"it is {kind}, not a network", field="model", remedy=remedy)


def check_modules(modules: Mapping[str, nn.Module]) -> None:
    """Check that these are Python modules that have all their weights.

    Args:
        modules: by path.

    Raises:
        ModelError: one is not.
    """
    for path, module in modules.items():
        name = f"its module {path}" if path else "it"
        if isinstance(module, LazyModuleMixin):
            remedy = "Run the network once on an example, so that it has all its weights"
            problem = f"{name} is a {type(module).__name__}, which has no weights yet"
            raise ModelError(problem, field="model", remedy=remedy)
        if isinstance(module, torch.jit.ScriptModule):
            remedy = "Give the Python module it was made from"
            problem = f"{name} is a TorchScript module, which cannot be pruned"
            raise ModelError(problem, field="model", remedy=remedy)


def check_example(example_input: object) -> None:
    """Check that there is a tensor in the example input.

    Raises:
        ModelError: there is none.
    """
    leaves = tree_leaves(example_input)
    if any(isinstance(value, Tensor) for value in leaves) or any(map(_holds_tensors, leaves)):
        return
    kind, remedy = f"a {type(example_input).__name__}", "Give a tensor, or a tuple of the model's arguments"
    if example_input is None:
        kind = "None"
    elif leaves and all(type(value) is int for value in leaves) and isinstance(example_input, (tuple, list)):
        kind, remedy = "a shape", f"Give torch.zeros({', '.join(map(str, leaves))})"
    elif type(example_input).__module__.startswith("numpy"):
        kind, remedy = "a numpy array", "Give torch.from_numpy(...)"
    raise ModelError(f"it is {kind}, not a tensor", field="example_input", remedy=remedy)


def _holds_tensors(value: Any) -> bool:
    """Whether an object of the user's own, such as a dataclass, has a tensor as an attribute."""
    return any(isinstance(attribute, Tensor) for attribute in getattr(value, "__dict__", {}).values())
