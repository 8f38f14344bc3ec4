"""Follow the layers of torch.nn, each as one call.

Their mode changes no dependency between channels, so a layer is one call of the log. The second run of the
network is four times as fast that way. A plain layer is followed by the rule of the one function that it
calls, without its `forward`: that takes half the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from netslim.dependency.call_log import AT_END, CallLog
from netslim.dependency.records import TraceRecords
from netslim.dependency.tracer import TracedTensor, follow_call
from netslim.nn._torch import DisableTorchFunctionSubclass, without_function_modes
from netslim.nn.layer_calls import LayerCall, layer_call
from netslim.nn.module_copy import is_of_torch

__all__ = ["log_layers", "stop_logging"]


def log_layers(modules: Iterable[nn.Module], records: TraceRecords, logs: list[CallLog]) -> list[nn.Module]:
    """Let the layers of torch.nn that contain no other modules be logged as one call each; returns them.

    Args:
        modules: those of the skeleton, which are changed: they get a `forward` of their own.
        logs: the last of them is that of the run that is going on.
    """
    logged = []
    for module in modules:
        of_torch = is_of_torch(module) and "forward" not in vars(module)
        if of_torch and next(module.children(), None) is None:
            _log_layer(module, records, logs)
            logged.append(module)
    return logged


def stop_logging(layers: Iterable[nn.Module]) -> None:
    """Give these layers their own `forward` back.

    The other one refers to its layer, so only the garbage collector would free the skeleton.
    """
    for layer in layers:
        del vars(layer)["forward"]


_FUNCTIONS_OF_INPUTS = {
    f"torch.nn.modules.{name}"
    for name in ("activation", "batchnorm", "conv", "dropout", "flatten", "linear", "padding")
}
"""The layers that call nothing but functions of their inputs and weights. These are followed by the tensors
themselves, without the mode, in half the time."""


def _log_layer(layer: nn.Module, records: TraceRecords, logs: list[CallLog]) -> None:
    forward, call = layer.forward, layer_call(layer)
    is_function = type(layer).__module__ in _FUNCTIONS_OF_INPUTS

    def logged(*args: Any, **kwargs: Any) -> Any:
        log = logs[-1]
        if log.repeats:
            result = log.next_result(layer, args, kwargs)
            return forward(*args, **kwargs) if result is AT_END else result
        start, result = len(log.calls), NotImplemented
        if call is not None and len(args) == 1 and type(args[0]) is TracedTensor and not kwargs:
            result = without_function_modes(_follow, (records, layer, call, args[0]))
        if result is NotImplemented:
            result = (
                without_function_modes(forward, args, kwargs) if is_function else forward(*args, **kwargs)
            )
        del log.calls[start:]
        log.add((layer, args, kwargs, result, False))
        return result

    vars(layer)["forward"] = logged


def _follow(records: TraceRecords, layer: nn.Module, call: LayerCall, input: TracedTensor) -> Any:
    """Apply the rule of the function that a layer calls; NotImplemented if its `forward` has to run."""
    try:
        arguments = call.arguments(vars(layer))
    except KeyError:  # the model's code has put something else in the place of a parameter
        return NotImplemented
    with DisableTorchFunctionSubclass():
        if call.axes and input.dim() not in call.axes:
            return NotImplemented
        records.running_layer = records.paths.get(id(layer), "")
        try:
            return follow_call(call.function, (input, *arguments), {})
        finally:
            records.running_layer = None
