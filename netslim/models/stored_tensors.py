"""The tensors of a network as safetensors stores them, and whether stored tensors fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netslim.errors import ModelError

__all__ = ["check_tensors", "tensors_to_store"]


def tensors_to_store(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors for safetensors (contiguous, sharing no memory), and the names that share another's tensor.

    Raises:
        ModelError: the state contains something else than tensors.
    """
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            remedy = "Only parameters and buffers can be stored"
            raise ModelError(f"its state is a {type(value).__name__}", field=name, remedy=remedy)
        memory = (value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if value.numel() and memory in seen:
            tied[name] = seen[memory]
            continue
        seen[memory] = name
        tensors[name] = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return tensors, tied


def check_tensors(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], folder: Path) -> None:
    """Compare the names, shapes and dtypes of stored tensors with those of a network.

    Raises:
        ModelError: they differ; the message names the first three.
    """

    def kind(tensor: Tensor) -> str:
        return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"

    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} is not in the network" for name in weights if name not in expected]
    faults += [
        f"{name} is {kind(weights[name])}, not {kind(tensor)}"
        for name, tensor in expected.items()
        if name in weights and kind(weights[name]) != kind(tensor)
    ]
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        remedy = "The network's code or its arguments changed since, or the plan is another model's"
        raise ModelError(f"the weights do not fit the network: {shown}", field=str(folder), remedy=remedy)
