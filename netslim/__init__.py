"""netslim: a wide CNN goes in, a slim ONNX model comes out, with the evidence to trust it.

The names below load what they need on first use, so that `import netslim` costs nothing and a step that
only measures an ONNX file never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netslim.cost import Cost, count
    from netslim.nn.recalibration import recalibrate
    from netslim.pruning.apply_plan import apply_plan
    from netslim.pruning.plan import Plan
    from netslim.pruning.pruner import PruneResult, preflight, prune

__version__ = "0.1.0"

__all__ = ["Cost", "Plan", "PruneResult", "apply_plan", "count", "preflight", "prune", "recalibrate"]

_HOMES = {
    "Cost": "cost",
    "Plan": "pruning.plan",
    "PruneResult": "pruning.pruner",
    "apply_plan": "pruning.apply_plan",
    "count": "cost",
    "preflight": "pruning.pruner",
    "prune": "pruning.pruner",
    "recalibrate": "nn.recalibration",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"netslim.{_HOMES[name]}"), name)
    if name == "sparsity":  # `netslim.sparsity.add_l1_subgradient(...)` without a second import
        return importlib.import_module("netslim.sparsity")
    raise AttributeError(f"module 'netslim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "sparsity", "__version__"])
