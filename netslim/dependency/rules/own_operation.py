"""The rule for tensors that an operation of the user's own reads: see `netslim.nn.own_rules`.

What its function computes is followed operation by operation. Only the promise about its values is made here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import channels_of, make
from netslim.dependency.tracer import TracedTensor
from netslim.nn.own_rules import operand

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register(operand, returns_view=True)
def _operand(func: Any, x: TracedTensor, exact: bool) -> TracedTensor:
    """Offsets do not pass, because only tensors that are constant need the same values as in the function."""
    if exact or x.source:
        return x
    channels = channels_of(x)
    if channels is None:
        return make(x, None)
    without_bias, with_bias = (
        _zero_or_unknown(values) for values in (channels.value_without_bias, channels.value_with_bias)
    )
    return make(x, ChannelState(channels.labels, without_bias, with_bias, channels.exact))


def _zero_or_unknown(values: Floats) -> Floats:
    return np.where(values == 0, 0.0, np.nan)
