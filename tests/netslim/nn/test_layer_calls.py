"""The call of a plain layer: `forward` of torch makes the same one."""

from __future__ import annotations

import inspect
import re
from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from netslim.nn import layer_calls
from netslim.nn.layer_calls import layer_call

LAYERS = [
    nn.Conv1d(4, 6, 3, stride=2, padding=1, bias=False),
    nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2),
    nn.Conv3d(4, 6, 3, padding="same"),
    nn.Linear(5, 3),
    nn.Linear(5, 3, bias=False),
    nn.BatchNorm1d(4),
    nn.BatchNorm2d(4, affine=False),
    nn.BatchNorm3d(4, track_running_stats=False),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardtanh(-2, 3),
    nn.LeakyReLU(0.2, inplace=True),
    nn.ELU(2.0),
    nn.SELU(),
    nn.CELU(3.0),
    nn.SiLU(),
    nn.Mish(),
    nn.Hardswish(inplace=True),
    nn.Hardsigmoid(),
    nn.Softplus(2, 10),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.MaxPool1d(2),
    nn.MaxPool2d(3, 2, (1, 0), ceil_mode=True),
    nn.MaxPool3d(2, dilation=2),
    nn.AvgPool2d(3, padding=1, count_include_pad=False),
    nn.AvgPool3d(2, divisor_override=3),
    nn.AdaptiveAvgPool1d(1),
    nn.AdaptiveAvgPool2d((2, 3)),
    nn.AdaptiveAvgPool3d((None, 1, 2)),
    nn.Dropout(0.3),
    nn.Dropout2d(0.2),
]


class _FirstCall(TorchFunctionMode):
    """Records the first function of torch with its arguments, by name of the parameter."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.found = function, ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self.function and not self.found:
            self.found = by_name(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def by_name(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = getattr(F, f"{function.__name__}_with_indices", function)  # it tells its parameters
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except ValueError:  # a function in C, whose arguments torch.nn gives by position
        return (*args, kwargs)
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name != "momentum"}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_forward_makes_this_call(layer: nn.Module, training: bool) -> None:
    layer.train(training)
    call = layer_call(layer)
    assert call is not None
    spatial = re.search(r"(\d)d$", type(layer).__name__)
    images = torch.randn((2, 4, 5, 5, 5)[: 2 + int(spatial[1] if spatial else 2)])
    with _FirstCall(call.function) as recorder:
        layer(images)
    assert recorder.found == by_name(call.function, (images, *call.arguments(vars(layer))), {})


def test_every_kind_of_layer_is_tested() -> None:
    assert {type(layer) for layer in LAYERS} == layer_calls._CALLS.keys()


def test_running_statistics_that_are_not_tracked_any_more_are_not_read() -> None:
    norm = nn.BatchNorm2d(4).train()
    norm.track_running_stats = False
    call = layer_call(norm)
    assert call is not None
    images = torch.randn(2, 4, 3, 3)
    with _FirstCall(F.batch_norm) as recorder:
        norm(images)
    assert recorder.found == by_name(F.batch_norm, (images, *call.arguments(vars(norm))), {})


class OwnConv(nn.Conv2d):
    """A class of the user's own may compute anything."""


def test_other_layers_run_themselves() -> None:
    replaced = nn.ReLU()
    replaced.forward = torch.neg  # type: ignore[method-assign]
    circular, with_indices = nn.Conv2d(1, 1, 3, padding_mode="circular"), nn.MaxPool2d(2, return_indices=True)
    for layer in (OwnConv(1, 1, 1), circular, with_indices, replaced):
        assert layer_call(layer) is None


def test_a_class_of_torch_whose_forward_was_replaced_runs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layer_call(nn.SiLU()) is not None
    monkeypatch.setattr(nn.SiLU, "forward", lambda self, x: x * x.sigmoid())
    assert layer_call(nn.SiLU()) is None
    monkeypatch.undo()
    assert layer_call(nn.SiLU()) is not None


def test_a_convolution_whose_method_was_replaced_runs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users standardise weights that way."""
    layer: Any = nn.Conv2d(2, 2, 1)
    own = nn.Conv2d._conv_forward

    def standardised(self: Any, x: Any, weight: Any, bias: Any) -> Any:
        return own(self, x, weight - weight.mean(), bias)

    layer._conv_forward = MethodType(standardised, layer)
    assert layer_call(layer) is None
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", standardised)
    assert layer_call(nn.Conv2d(2, 2, 1)) is None


def test_a_parameter_that_was_replaced_by_a_plain_tensor_is_not_found() -> None:
    layer: Any = nn.Conv2d(2, 2, 1)
    call = layer_call(layer)
    assert call is not None
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight
    with pytest.raises(KeyError, match="weight"):
        call.arguments(vars(layer))
