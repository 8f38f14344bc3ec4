"""Rules for pixel shuffle, which moves blocks of channels into space, and for its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.rule import RuleSet
from netslim.dependency.rules.common import channels_of, make, unknown

__all__ = ["RULES"]

RULES = RuleSet()


@RULES.register("pixel_unshuffle", keeps_offsets=True)
def _pixel_unshuffle(func: Any, input: Any, downscale_factor: int) -> Any:
    """Each channel becomes a block of channels, which are all the same channel."""
    block, channels = downscale_factor**2, channels_of(input)
    *batch, count, height, width = input.shape
    shape = (*batch, count * block, height // downscale_factor, width // downscale_factor)
    if channels is None:
        return make(input, None, shape)
    vectors = channels.as_vectors(len(batch), count)
    if vectors is None:
        return unknown(func, input, downscale_factor)
    sizes = (*(1,) * len(batch), -1, 1, 1)
    return make(input, vectors.rearranged(lambda vector: np.repeat(vector, block).reshape(sizes)), shape)


@RULES.register("pixel_shuffle")
def _pixel_shuffle(func: Any, input: Any, upscale_factor: int) -> Any:
    """A block of channels becomes one channel, so the channels of a block are tied."""
    block, channels = upscale_factor**2, channels_of(input)
    *batch, count, height, width = input.shape
    shape = (*batch, count // block, height * upscale_factor, width * upscale_factor)
    if channels is None:
        return make(input, None, shape)
    vectors = channels.as_vectors(len(batch), count)
    if vectors is None or count == block:
        return unknown(func, input, upscale_factor)
    rows = vectors.rearranged(lambda vector: vector.reshape(-1, block))
    first = rows.labels[:, :1]
    input.records.tie(rows.labels[:, 1:], np.broadcast_to(first, (count // block, block - 1)))
    sizes = (*(1,) * len(batch), -1, 1, 1)

    def common(values: Floats) -> Floats:
        """The constant of each block; NaN where its channels have different ones."""
        equal = (values == values[:, :1]).all(axis=1)
        return np.where(equal, values[:, 0], np.nan).reshape(sizes)

    without_bias, with_bias = common(rows.value_without_bias), common(rows.value_with_bias)
    return make(input, ChannelState(first.reshape(sizes), without_bias, with_bias, rows.exact), shape)
