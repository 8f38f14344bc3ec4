"""Tensors that are made in the forward pass, devices, autocast; statistics such as std and var."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import netslim
from netslim.errors import ModelError
from tests.helpers.user_code import IMAGES, Around, prove_user_code

Function = Callable[[Any], Any]


def concat(make: Callable[[Any], Any]) -> Function:
    return lambda y: torch.cat([y, make(y)], 1)


def kind(y: Tensor) -> dict[str, Any]:
    return {"dtype": y.dtype, "device": y.device}


def normalised(y: Any, variance: Any, mean: Any) -> Any:
    return (y - mean) / (variance + 1).sqrt()


def grid(y: Tensor) -> Tensor:
    n, _, h, w = y.shape
    axes = [torch.linspace(-1, 1, size, **kind(y)) for size in (h, w)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0).expand(n, -1, -1, -1)


# function, width behind it, whether the channels can be removed
TENSORS: dict[str, tuple[Function, int, bool]] = {
    "zeros": (concat(lambda y: torch.zeros(len(y), 2, 8, 8, **kind(y))), 14, True),
    "new_zeros": (concat(lambda y: y.new_zeros(y.size(0), 2, *y.shape[2:])), 14, True),
    "new_full": (concat(lambda y: y.new_full((y.size(0), 2, 8, 8), 0.5)), 14, True),
    "new_tensor": (lambda y: y * y.new_tensor(2.0), 12, True),
    "coordinates": (concat(grid), 14, True),
    "zeros of its width": (concat(lambda y: torch.zeros(y.shape, **kind(y))), 24, True),
    "zeros of its sizes": (
        concat(lambda y: torch.zeros(y.size(0), y.size(1), 8, 8, **kind(y))), 24, True
    ),
    "new_ones of its width": (concat(lambda y: y.new_ones(y.shape)), 24, False),
    "full_like": (concat(lambda y: torch.full_like(y, 0.0)), 24, True),
    "ones of half its width": (
        lambda y: y * torch.cat([torch.ones(1, y.shape[1] // 2, 1, 1, **kind(y))] * 2, 1), 12, False
    ),
    "a sum with zeros of its width": (lambda y: y + y.new_zeros(1, y.shape[1], 1, 1), 12, True),
    "numbers of its channels": (
        lambda y: y * torch.arange(1, y.shape[1] + 1, **kind(y)).view(1, -1, 1, 1), 12, False
    ),
    "a range of its channels": (
        lambda y: y * torch.linspace(0, 1, y.shape[1], **kind(y)).view(1, -1, 1, 1), 12, False
    ),
    "its channels in numpy": (lambda y: y / float(np.sqrt(y.shape[1])), 12, False),
    "an identity matrix": (
        lambda y: torch.einsum("nchw,cd->ndhw", y, torch.eye(y.shape[1], **kind(y))), 12, False
    ),
    "from numpy": (
        concat(lambda y: torch.from_numpy(np.ones((len(y), 2, 8, 8))).to(y.device, y.dtype)), 14, True
    ),
    "a scalar": (lambda y: y * torch.tensor(2.0, dtype=y.dtype), 12, True),
    "a window": (lambda y: y * torch.hann_window(8, **kind(y)), 12, True),
    "a mask": (
        lambda y: torch.where(torch.ones(8, 8, dtype=torch.bool).tril(), y, y.new_zeros(())), 12, False
    ),
}  # fmt: skip


def autocast(y: Tensor) -> Tensor:
    with torch.autocast(device_type=y.device.type, enabled=False):
        return y * 2


def lower_precision(y: Tensor) -> Tensor:
    with torch.autocast(y.device.type, dtype=torch.bfloat16, enabled=y.is_cuda):
        return y * 2


def checked(y: Tensor) -> Tensor:
    if y.device.type not in ("cpu", "cuda") or y.is_meta:
        raise ValueError(f"unsupported device {y.device.type}")
    return y * 2


def same_device(y: Tensor) -> Tensor:
    assert y.device == torch.zeros(1, device=y.device).device
    return y.to(y.device) + torch.zeros(1, device=y.device, dtype=y.dtype)


DEVICES: dict[str, Function] = {
    "autocast": autocast,
    "autocast of an option": lower_precision,
    "is autocast enabled": lambda y: y if torch.is_autocast_enabled(y.device.type) else y * 2,
    "a check": checked,
    "the same device": same_device,
    "the number of the device": lambda y: y * 2 if y.get_device() < 0 or y.is_cuda else y,
    "to the CPU": lambda y: y.cpu().to(y),
}

STATISTICS: dict[str, tuple[Function, bool]] = {
    "std, keywords": (lambda y: y / (y.std(dim=(2, 3), keepdim=True) + 1), True),
    "torch.std": (lambda y: y / (torch.std(y, dim=[2, 3], keepdim=True) + 1), True),
    "var, unbiased=False": (lambda y: y / (y.var((2, 3), unbiased=False, keepdim=True) + 1), True),
    "var, correction": (lambda y: y / (y.var((2, 3), correction=0, keepdim=True) + 1), True),
    "var, by position": (lambda y: y / (torch.var(y, (2, 3), True, True) + 1), True),
    "std, unbiased by position": (lambda y: y / (y.std((2, 3), False)[:, :, None, None] + 1), True),
    "std of flat values": (lambda y: y / (y.flatten(2).std(-1).view(len(y), -1, 1, 1) + 1), True),
    "var_mean": (
        lambda y: normalised(y, *torch.var_mean(y, (2, 3), keepdim=True)), True
    ),
    "std_mean": (lambda y: torch.std_mean(y, dim=(2, 3), keepdim=True)[0] * y, True),
    "maximum": (lambda y: y - y.max(3, keepdim=True)[0], True),
    "maximum, by name": (lambda y: y - y.flatten(2).max(dim=2).values[:, :, None, None], True),
    "smallest and largest": (lambda y: y - torch.aminmax(y, dim=3, keepdim=True).min, True),
    "norm": (lambda y: y / (y.norm(dim=(2, 3), keepdim=True) + 1), True),
    "norm by position": (lambda y: y / (y.flatten(2).norm(2, 2)[:, :, None, None] + 1), True),
    "linalg norm": (lambda y: y / (torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True) + 1), True),
    "normalized over space": (lambda y: F.normalize(y.flatten(2), dim=2).view_as(y), True),
    "sum with a dtype": (lambda y: y / (y.abs().sum((2, 3), keepdim=True, dtype=y.dtype) + 1), True),
    "softmax over space": (lambda y: y * y.flatten(2).softmax(-1).view_as(y), True),
    "cumulative sum over space": (lambda y: y.cumsum(-1), True),
    "the mean over channels": (lambda y: y - y.mean(1, True), False),
    "the variance over channels": (lambda y: y / (y.var(1, False, True) + 1), False),
    "normalized over channels": (lambda y: F.normalize(y, dim=1), False),
    "of everything": (lambda y: y / (y.std() + 1), False),
    "of everything, unbiased": (lambda y: y / (y.std(False) + 1), False),
}  # fmt: skip


CODE = {
    **TENSORS,
    **{name: (function, 12, True) for name, function in DEVICES.items()},
    **{name: (function, 12, reached) for name, (function, reached) in STATISTICS.items()},
}


@pytest.mark.parametrize("name", CODE)
def test_pruned_equals_masked_and_what_is_not_followed_is_named(name: str) -> None:
    function, width, reached = CODE[name]
    (result,) = prove_user_code(lambda: Around(function, width), IMAGES, ("group",)).values()
    frozen = [row.why for row in result.report.rows if row.why.startswith("frozen")]
    assert bool(frozen) != reached, str(result.report)


ON_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "nonzero": lambda y: y[:, :, torch.nonzero(y[0, 0, 0] > -9)[:, 0]],
    "__getitem__": lambda y: y[y.mean((1, 2, 3)) > -9],
    "unique": lambda y: y + y.unique()[0],
    "__bool__": lambda y: y * 2 if y.sum() > 0 else y,
}


@pytest.mark.parametrize("name", ON_VALUES)
def test_code_that_needs_values_is_refused_with_the_operation_and_the_line(name: str) -> None:
    model = Around(ON_VALUES[name]).double()
    model(IMAGES)  # it runs with data
    with pytest.raises(ModelError) as caught:
        netslim.prune(model, IMAGES)
    message = str(caught.value)
    assert f"without data: {name} at test_user_code_tensors.py:" in message
    assert "register_meta" not in message
    assert len(message) < 300
