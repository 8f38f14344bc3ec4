"""New running statistics for BatchNorm, estimated from data ("precise BN").

After pruning, the running statistics describe the network as it was before. Wu and Johnson, "Rethinking
'Batch' in BatchNorm" (2021), section 3, estimate them again from some batches without training.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netslim.errors import DataError, first_line
from netslim.nn._torch import tree_map_only
from netslim.nn.modes import eval_mode, unwrap

__all__ = ["recalibrate"]


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> None:
    """Estimate the running statistics of every BatchNorm again, as the mean over batches; in place.

    Each batch counts equally, whatever its size. All other modules are in eval mode meanwhile; afterwards
    each module has the mode that it had. After an error, the statistics are as they were.

    Args:
        batches: each is a tensor float32[N, ...], N above 1, for most models; or a tuple or list, of which
            the model gets as many values as its `forward` requires (so labels behind the images are left
            out); or a dict, whose values are given by name. Tensors are moved to the device of the model.

    Raises:
        DataError: there is no batch, or one does not fit the model.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    state = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False)]
    parameters = inspect.signature(unwrap(model).forward).parameters
    device = next((parameter.device for parameter in model.parameters()), None)
    seen, done = 0, False
    with eval_mode(model), torch.no_grad():
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean over all batches
                norm.train()
            for batch in batches:
                positional, named = _arguments(batch, parameters)
                if device is not None:
                    to_device = lambda value: value.to(device)  # noqa: E731
                    positional, named = tree_map_only(Tensor, to_device, (positional, named))
                try:
                    model(*positional, **named)
                except Exception as error:
                    problem = f"number {seen + 1} does not fit the model ({first_line(error)})"
                    remedy = "Give what the model takes, with more than one example in each batch"
                    raise DataError(problem, field="batches", remedy=remedy) from error
                seen += 1
            if not seen:
                raise DataError("there is none", field="batches", remedy="Give at least one batch of inputs")
            if not all(buffer.isfinite().all() for buffer, _ in state):
                raise DataError("they lead to statistics that are NaN or infinite", field="batches")
            done = True
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            for buffer, before in () if done else state:
                buffer.copy_(before)


def _arguments(
    batch: Any, parameters: Mapping[str, inspect.Parameter]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the model gets of a batch, by position and by name.

    Raises:
        DataError: nothing in the batch has the name of an argument of the model.
    """
    if isinstance(batch, Mapping):
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        named = {key: value for key, value in batch.items() if open_ended or key in parameters}
        if named:
            return (), named
        problem = f"a batch has {', '.join(map(str, batch))}, the model takes {', '.join(parameters)}"
        raise DataError(problem, field="batches", remedy="Give the inputs as the model's arguments")
    if isinstance(batch, (tuple, list)):
        required = [
            parameter
            for parameter in parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
        return tuple(batch[: max(1, len(required))]), {}
    return (batch,), {}
