"""Rules for reductions of axes along which the channels do not vary: means, variances, maxima, norms.

Their arguments come in many forms: `x.var((2, 3), False, True)`, `x.std(dim=(2, 3), correction=0)`,
`torch.var_mean(x, 1)`. `_axes` reads the reduced axes from any of them; the rest follows from the shape of
the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.rule import RuleSet, name_of
from netslim.dependency.rules.common import channels_of, make, mark_counts, shape_of, unknown, without_counts

__all__ = ["RULES"]

RULES = RuleSet()


def _same(values: Floats) -> Floats:
    return values


def _zero_only(values: Floats) -> Floats:
    """A constant other than 0 gives a number that depends on how many values there are."""
    return np.where(values == 0, 0.0, np.nan)


def _no_spread(values: Floats) -> Floats:
    """Equal values have variance 0."""
    return np.where(np.isnan(values), np.nan, 0.0)


def _unknown(values: Floats) -> Floats:
    return np.full(values.shape, np.nan)


# what becomes of a constant; the results in order, for functions that return several
_CONSTANTS: dict[str, tuple[Callable[[Floats], Floats], ...]] = {
    **dict.fromkeys(("mean", "amax", "amin", "nanmean"), (_same,)),
    **dict.fromkeys(("max", "min", "median", "mode"), (_same, _unknown)),
    "aminmax": (_same, _same),
    **dict.fromkeys(("sum", "nansum", "prod", "norm", "vector_norm", "linalg_vector_norm"), (_zero_only,)),
    **dict.fromkeys(("std", "var"), (_no_spread,)),
    **dict.fromkeys(("var_mean", "std_mean"), (_no_spread, _same)),
    **dict.fromkeys(("logsumexp", "argmax", "argmin", "all", "any", "count_nonzero"), (_unknown,)),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), (_unknown,)),
    **dict.fromkeys(("cumsum", "cumprod"), (_zero_only,)),
    "normalize": (_zero_only,),
}
_POSITION_OF_DIM = {"norm": 2, "normalize": 2, "vector_norm": 2, "linalg_vector_norm": 2}
_DEFAULT_DIM = {"normalize": 1}


@RULES.register(
    *(name for name in _CONSTANTS if "vector" not in name), torch.linalg.vector_norm, accepts_counts=True
)
def _reduce(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Reductions, and functions such as softmax that combine values along an axis and keep it."""
    input: Any = args[0] if args else kwargs.get("input")
    mark_counts((*args, *kwargs.values()))
    args, kwargs = without_counts(args), without_counts(kwargs)
    channels, name = channels_of(input), name_of(func)
    dims = _axes(name, args, kwargs, input.dim())
    if dims is None or channels is None or any(channels.labels.shape[axis] > 1 for axis in dims):
        return unknown(func, *args, **kwargs)
    result = shape_of(func, *args, **kwargs)
    outputs = result if isinstance(result, tuple) else (result,)
    made = []
    for output, constant in zip(outputs, _CONSTANTS[name], strict=True):
        state = ChannelState(
            channels.labels,
            constant(channels.value_without_bias),
            constant(channels.value_with_bias),
            channels.exact,
        )
        if output.dim() < input.dim():
            state = state.rearranged(lambda array: np.squeeze(array, dims))
        made.append(make(input, state, output.shape, dtype=output.dtype))
    if not isinstance(result, tuple):
        return made[0]
    return type(result)(made) if type(result) is not tuple else tuple(made)


def _axes(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> tuple[int, ...] | None:
    """The axes along which values are combined, ascending; None if the call is none that is followed."""
    if kwargs.get("out") is not None:
        return None
    position = _POSITION_OF_DIM.get(name, 1)
    dim = kwargs.get("dim", kwargs.get("axis", args[position] if len(args) > position else None))
    if dim is None:
        dim = _DEFAULT_DIM.get(name)
    if isinstance(dim, (bool, Tensor)) or dim is None:  # `x.std(True)` is a mode of all values
        return None
    if isinstance(dim, int):
        dim = (dim,)
    if not isinstance(dim, Sequence) or not dim or not all(isinstance(axis, int) for axis in dim):
        return None
    return tuple(sorted(axis % count for axis in dim))
