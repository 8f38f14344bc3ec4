"""netslim: a wide CNN goes in, a slim ONNX model comes out, with the evidence to trust it.

The names below load what they need on first use, so that `import netslim` costs nothing and a step that
only measures an ONNX file never loads torch.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netslim.cost import Cost, count
    from netslim.models.artifact import load_model, save
    from netslim.nn.own_rules import register_rule
    from netslim.nn.recalibration import recalibrate
    from netslim.pruning.apply_plan import apply_plan
    from netslim.pruning.options import PruningOptions
    from netslim.pruning.plan import Plan
    from netslim.pruning.pruner import PruneResult, preflight, preview, prune
    from netslim.pruning.sensitivity import sensitivity
    from netslim.pruning.sensitivity_table import Sensitivity
    from netslim.training.recipe import Recipe
    from netslim.training.train import train

__version__ = "0.1.0"

__all__ = [
    "Cost",
    "Plan",
    "PruneResult",
    "PruningOptions",
    "Recipe",
    "Sensitivity",
    "apply_plan",
    "count",
    "load_model",
    "preflight",
    "preview",
    "prune",
    "recalibrate",
    "register_rule",
    "save",
    "sensitivity",
    "train",
]

_HOMES = {
    "Cost": "cost",
    "Plan": "pruning.plan",
    "PruneResult": "pruning.pruner",
    "PruningOptions": "pruning.options",
    "Recipe": "training.recipe",
    "Sensitivity": "pruning.sensitivity_table",
    "apply_plan": "pruning.apply_plan",
    "count": "cost",
    "load_model": "models.artifact",
    "preflight": "pruning.pruner",
    "preview": "pruning.pruner",
    "prune": "pruning.pruner",
    "recalibrate": "nn.recalibration",
    "register_rule": "nn.own_rules",
    "save": "models.artifact",
    "sensitivity": "pruning.sensitivity",
    "train": "training.train",
}
_MODULES = ("data", "models", "sparsity")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(_load(_HOMES[name], name), name)
    if name in _MODULES:  # `netslim.sparsity.add_l1_subgradient(...)` without a second import
        return _load(name, name)
    raise AttributeError(f"module 'netslim' has no attribute {name!r}")


def _load(module: str, name: str) -> ModuleType:
    """Import netslim.`module`, which has the public `name`; one clear error when PyTorch is not installed."""
    try:
        return importlib.import_module(f"netslim.{module}")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        from netslim.errors import NetslimError

        remedy = "pip install 'netslim[torch]'"
        raise NetslimError(f"needs {error.name}", field=f"netslim.{name}", remedy=remedy) from error


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
