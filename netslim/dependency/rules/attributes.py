"""Rules for attributes of a tensor: shapes, and what does not depend on the channels at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import size_of
from netslim.dependency.tracer import TracedTensor

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register(Tensor.size, Tensor.shape.__get__, is_query=True)  # type: ignore[attr-defined]
def _size(func: Any, tensor: TracedTensor, dim: int | None = None) -> Any:
    return size_of(tensor, dim)


@RULES.register(Tensor.__len__, is_query=True)
def _length(func: Any, tensor: TracedTensor) -> Any:
    return size_of(tensor, 0)


@RULES.register(Tensor.numel, Tensor.nelement, is_query=True)
def _value_count(func: Any, tensor: TracedTensor) -> Any:
    return size_of(tensor).numel()


def _attributes(*names: str) -> list[Any]:
    """Methods of Tensor, and the getters of its properties."""
    members = (getattr(Tensor, name) for name in names)
    return [member if callable(member) else member.__get__ for member in members]


@RULES.register(
    *_attributes("ndim", "dtype", "layout", "requires_grad", "is_leaf"),
    *_attributes("is_sparse", "is_quantized", "is_mkldnn", "grad_fn", "grad", "is_inference"),
    *_attributes("is_nested", "dim", "ndimension", "is_floating_point", "is_complex", "element_size"),
    *_attributes("__hash__", "is_contiguous", "__repr__", "__format__", "is_signed"),
    is_query=True,
)
def _plain_attribute(func: Any, tensor: TracedTensor, *args: Any, **kwargs: Any) -> Any:
    return func(tensor, *args, **kwargs)


@RULES.register(
    *_attributes("device", "is_cuda", "is_meta", "is_cpu", "is_mps", "is_xpu", "get_device"), is_query=True
)
def _device(func: Any, tensor: TracedTensor) -> Any:
    """The device that the network is on: the model may choose its path by it, or make tensors there."""
    return func(torch.empty(0, device=tensor.records.device))
