"""What a network keeps in Python instead of in tensors: a CUDA graph does not repeat its changes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

__all__ = ["PythonState"]

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class PythonState:
    """Python's and numpy's random generators, and the plain attributes of all modules, at one moment."""

    generators: tuple[Any, Any]
    attributes: dict[tuple[str, str], Any]

    @classmethod
    def of(cls, model: nn.Module) -> PythonState:
        numpy_state = np.random.get_state()
        attributes = {
            (module_name, name): value
            for module_name, module in model.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, _PLAIN)
        }
        return cls((random.getstate(), numpy_state), attributes)

    def change(self, later: PythonState) -> str:
        """What is different in a later state of the same network, in words; empty for nothing."""
        for (module, name), value in later.attributes.items():
            if self.attributes.get((module, name)) != value and value == value:  # NaN differs from itself
                return f"the network changes {f'{module}.{name}'.lstrip('.')}, a plain number, in each step"
        python, numpy_state = self.generators
        if later.generators[0] != python or not _equal(later.generators[1], numpy_state):
            return "the network draws random numbers without torch"
        return ""

    def restore(self, model: nn.Module) -> None:
        """Set the generators and the attributes to what they were."""
        python, numpy_state = self.generators
        random.setstate(python)
        np.random.set_state(numpy_state)
        modules = dict(model.named_modules())
        for (module, name), value in self.attributes.items():
            setattr(modules[module], name, value)


def _equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
