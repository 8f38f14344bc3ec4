"""Tensors of the network that leave it: in its result, in containers that were given to it, on its modules.

The result may be anything that holds tensors: lists, mappings, dataclasses, objects with attributes or slots,
iterators. Whoever reads them expects the channels of the wide network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netslim.dependency.records import TraceRecords
from netslim.dependency.tracer import TracedTensor
from netslim.nn.module_copy import is_of_torch

__all__ = ["attributes_with_tensors", "exhausted", "keep_leaving"]

_NO_HOLDERS = (
    *(bool, int, float, complex, str, bytes, type, type(None), ModuleType, torch.dtype, torch.device),
    *(np.ndarray, np.generic, nn.Module),
)
_WITHOUT_TENSORS = {bool, int, float, str, type(None), set}
_OF_EVERY_MODULE = vars(nn.Module()).keys()
"""Attributes that torch gives to every module: parameters, buffers, modules, hooks."""


def keep_leaving(records: TraceRecords, value: Any, reason: str) -> None:
    """The channels of all tensors in a value must stay."""
    for tensor in _tensors(value, set()):
        if tensor.channels is not None:
            records.mark_unprunable(tensor.channels.labels, reason)
            records.uncompensated_sources.extend(tensor.channels.conv_sources)


def exhausted(value: Any) -> Any:
    """A list in place of a generator, whose code runs only when it is read."""
    return [exhausted(item) for item in value] if isinstance(value, GeneratorType) else value


def attributes_with_tensors(modules: Iterable[nn.Module]) -> Iterator[tuple[str, Any]]:
    """The attributes of the model's own modules, except parameters, buffers and modules, by name."""
    for module in modules:
        if not is_of_torch(module):
            for name, value in vars(module).items():
                if name in _OF_EVERY_MODULE or type(value) in _WITHOUT_TENSORS:
                    continue
                if isinstance(value, Tensor) or (isinstance(value, (list, tuple, dict)) and value):
                    yield name, value


def _tensors(value: Any, seen: set[int]) -> Iterator[TracedTensor]:
    """The traced tensors in a value, at any depth."""
    if isinstance(value, _NO_HOLDERS) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if type(value) is TracedTensor:
            yield value
        return
    for part in _parts(value):
        yield from _tensors(part, seen)


def _parts(value: Any) -> Iterator[Any]:
    """What an object holds."""
    if isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # it is empty
                continue
        return
    if isinstance(value, MethodType):
        yield value.__self__
        return
    if isinstance(value, partial):
        yield from (*value.args, *value.keywords.values())
    if isinstance(value, Mapping):
        yield from list(value.values())
    elif isinstance(value, Iterable) and hasattr(value, "__len__"):
        yield from list(value)
    yield from list(getattr(value, "__dict__", {}).values())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield getattr(value, name)
