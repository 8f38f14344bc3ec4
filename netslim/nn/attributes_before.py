"""What the modules of a network were before its code ran, so that they can be so again."""

from __future__ import annotations

from collections.abc import Iterable
from operator import is_not
from typing import Any

from torch import nn

from netslim.nn.module_copy import EMPTY, STANDARD, STATE_HOOKS, is_of_torch, modules_by_path

__all__ = ["AttributesBefore"]

_TABLES = ("_parameters", "_buffers", "_modules")


class AttributesBefore:
    """The attributes of all modules of a network at one time, and the contents of lists, dicts and sets among
    them. (Tensors that are written to are not kept.)
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = list(modules_by_path(model).values())
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._containers: list[tuple[Any, Any]] = []
        for module in self.modules:
            own, of_torch = vars(module), is_of_torch(module)
            self._attributes.append((own, own.copy()))
            for name in _TABLES:
                table = own[name]
                if table or not of_torch:  # the forward of the model's own module may register the first
                    self._containers.append((table, table.copy()))
            if of_torch:
                continue
            for name, value in own.items():
                if type(value) in EMPTY and name not in STANDARD and name not in STATE_HOOKS:
                    _keep_contents(value, self._containers)

    def restore(self) -> None:
        """Give each module the attributes that it had."""
        for own, attributes in self._attributes:
            if len(own) != len(attributes):
                own.clear()
            own.update(attributes)
        for container, content in self._containers:
            if len(container) != len(content) or any(map(is_not, _items(container), _items(content))):
                container.clear()
                container.extend(content) if isinstance(container, list) else container.update(content)


def _items(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _keep_contents(container: Any, containers: list[tuple[Any, Any]]) -> None:
    containers.append((container, container.copy()))
    for inner in _items(container):
        if type(inner) in EMPTY:
            _keep_contents(inner, containers)
