"""The rules of shapes: each gives what torch computes with data, or leaves a wrong call to torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netslim.nn.shape_rules import RULES, layer_rule, without_data

LAYERS = [
    (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False), (2, 4, 9, 8)),
    (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 5, 5)),
    (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
    (nn.Linear(5, 7), (2, 3, 5)),
    (nn.Linear(5, 7, bias=False), (5,)),
    (nn.BatchNorm1d(4), (2, 4)),
    (nn.BatchNorm1d(4), (2, 4, 3)),
    (nn.BatchNorm2d(4, affine=False), (2, 4, 3, 3)),
    (nn.BatchNorm3d(4, track_running_stats=False), (2, 4, 3, 3, 3)),
    (nn.ReLU(inplace=True), (2, 3)),
    (nn.Dropout2d(0.5), (2, 3, 4, 4)),
    (nn.Hardswish(), (1, 2)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value).split("(")[0])
def test_a_layer_gives_the_shape_that_it_has_with_data(layer: nn.Module, shape: tuple[int, ...]) -> None:
    rule = layer_rule(layer)
    assert rule is not None
    images = torch.randn(shape)
    result = rule(without_data(images))
    assert result.is_meta
    expected = layer(images)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)


WRONG = [
    (nn.Conv2d(4, 6, 3), (2, 3, 9, 9)),
    (nn.Conv2d(4, 6, 3), (2, 4, 9)),
    (nn.Conv2d(4, 6, 3), (2, 4, 2, 9)),
    (nn.Conv2d(4, 8, 3, groups=4), (1, 8, 5, 5)),
    (nn.Linear(5, 7), (2, 4)),
    (nn.BatchNorm2d(4), (2, 3, 3, 3)),
    (nn.BatchNorm2d(4), (2, 4)),
    (nn.BatchNorm1d(4), (2, 4, 3, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), WRONG, ids=lambda value: str(value).split("(")[0])
def test_a_wrong_shape_is_left_to_torch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    rule = layer_rule(layer)
    assert rule is not None
    assert rule(torch.empty(shape, device="meta")) is NotImplemented
    if not (isinstance(layer, nn.Conv2d) and len(shape) == 3):  # a single image without a batch
        with pytest.raises((RuntimeError, ValueError)):
            layer(torch.zeros(shape))


def test_another_dtype_than_that_of_the_weight_is_refused() -> None:
    for layer, shape in ((nn.Conv2d(2, 2, 1), (1, 2, 1, 1)), (nn.Linear(2, 2), (1, 2))):
        rule = layer_rule(layer)
        assert rule is not None
        with pytest.raises(RuntimeError, match="float64"):
            rule(torch.empty(shape, dtype=torch.float64, device="meta"))
        with pytest.raises(RuntimeError):
            layer(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize(("shape", "indices"), [((3, 6, 6), False), ((1, 3, 6, 6), True)])
def test_pooling_of_one_image_or_with_indices_is_left_to_torch(shape: tuple[int, ...], indices: bool) -> None:
    images = torch.empty(shape, device="meta")
    assert RULES[F.max_pool2d](images, 2, return_indices=indices) is NotImplemented


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_pooling_at_every_border(kernel: int, stride: int, padding: int, ceil_mode: bool) -> None:
    """The last window counts or does not, and torch refuses too much padding and images without a window."""
    for size in range(1, 12):
        for dilation in (1, 2) if 2 * padding <= kernel else (1,):
            check_shape(F.max_pool1d, (torch.zeros(1, 2, size), kernel, stride, padding, dilation, ceil_mode))
        check_shape(F.avg_pool2d, (torch.zeros(1, 2, size, 9), kernel, stride, padding, ceil_mode))


class OwnConv(nn.Conv2d):
    """A class of the user's own may compute anything."""


def test_only_layers_of_torch_itself_have_a_rule() -> None:
    assert layer_rule(OwnConv(1, 1, 1)) is None
    assert layer_rule(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")) is None
    changed: Any = nn.ReLU()
    changed.forward = torch.sum
    assert layer_rule(changed) is None


A, B, ROW = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4), torch.zeros(1, 1, 4)
CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.cat, ([A, B], 1)),
    (torch.cat, ([A, B], -2)),
    (torch.cat, ([A, B], 0)),
    (torch.cat, ([A, ROW], 1)),
    (torch.add, (A, ROW)),
    (torch.add, (A, B)),
    (Tensor.__mul__, (A, 2.0)),
    (Tensor.__iadd__, (A, ROW)),
    (F.adaptive_avg_pool2d, (torch.zeros(1, 2, 6, 6), (2, 3))),
    (F.adaptive_avg_pool2d, (torch.zeros(1, 2, 6, 6), 1)),
    (F.max_pool1d, (A, 3, 2, 1)),
    (F.max_pool2d, (torch.zeros(2, 3, 6, 7), (3, 2), None, (1, 0), 1, True)),
    (torch.max_pool2d, (torch.zeros(2, 3, 6, 7).half(), 2)),
    (torch.max_pool2d, (torch.zeros(2, 3, 6, 7), 9)),
    (F.max_pool3d, (torch.zeros(1, 2, 4, 5, 6), 2)),
    (F.avg_pool2d, (torch.zeros(1, 2, 7, 8), 2, 3, 1, True)),
    (F.avg_pool2d, (torch.zeros(1, 2, 7, 8), 2, 3, 2)),
    (torch.avg_pool1d, (A, 2)),
    (Tensor.mean, (A, (0, -1), True)),
    (Tensor.mean, (A, 1)),
    (Tensor.mean, (A, (1, 1))),
    (torch.sum, (A, [0, 2])),
    (torch.sum, (A, 3)),
    (Tensor.view, (A, 2, 12)),
    (Tensor.flatten, (A, 1)),
    (torch.transpose, (A, 0, 2)),
    (Tensor.unsqueeze, (A, 4)),
    (F.batch_norm, (A, torch.zeros(3), torch.ones(3))),
    (F.batch_norm, (A, torch.zeros(4), torch.ones(4))),
    (F.linear, (A, torch.zeros(7, 4))),
    (F.linear, (A, torch.zeros(7, 5))),
    (Tensor.to, (A, torch.float16)),
    (F.relu, (A,)),
]


@pytest.mark.parametrize(("function", "arguments"), CALLS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_function_gives_the_shape_that_it_has_with_data_or_is_left_to_torch(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    check_shape(function, arguments)


def check_shape(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """The rule gives the shape that torch gives with data; NotImplemented, or an error, where torch fails."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        return without_data(value) if isinstance(value, Tensor) else value

    try:
        expected = function(*arguments)
    except (RuntimeError, IndexError):
        with contextlib.suppress(RuntimeError, IndexError):
            assert RULES[function](*map(moved, arguments)) is NotImplemented
        return
    result = RULES[function](*map(moved, arguments))
    assert result is not NotImplemented
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
