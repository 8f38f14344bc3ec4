"""The state of one tensor's channels: their labels, and the value that each has once it is removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from netslim.dependency.equivalence import Ints

__all__ = ["Array", "ChannelState", "Floats"]

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@lru_cache(maxsize=256)
def _unknown(shape: tuple[int, ...]) -> Floats:
    """An array of NaN. Nobody writes to the values of channels."""
    values = np.full(shape, np.nan)
    values.flags.writeable = False
    return values


@dataclass(eq=False, slots=True)
class ChannelState:
    """Arrays with as many axes as the tensor; an axis has size 1 where the channels do not vary along it.

    A feature map of shape (N, C, H, W) has arrays of shape (1, C, 1, 1). An operation that only moves values
    (a transpose, a chunk, a flatten) is applied to these arrays as it is applied to the tensor.

    Args:
        labels: int64, the label of the channel at this place. Places with equal labels are the same channel.
        value_without_bias: float64, the value there once the channel's gamma and beta are 0. NaN if it is not
            a constant.
        value_with_bias: float64, the value there once gamma is 0 and beta is not; NaN if it is not a
            constant.
        exact: False if `value_with_bias` is wrong near the border, because of zero padding.
        conv_sources: labels of the convolution outputs that were added up in this tensor, one array for each
            term, -1 for none. A correction of such an output changes this tensor by the same amount.
    """

    labels: Ints
    value_without_bias: Floats
    value_with_bias: Floats
    exact: bool = True
    conv_sources: tuple[Ints, ...] = ()

    @classmethod
    def without_values(cls, labels: Ints, conv_sources: tuple[Ints, ...] = ()) -> ChannelState:
        """Channels whose values are not constants, such as the outputs of a convolution."""
        unknown = _unknown(labels.shape)
        return cls(labels, unknown, unknown, conv_sources=conv_sources)

    def rearranged(self, move: Callable[[Array], Array]) -> ChannelState:
        """The channels after an operation that only moves values; `move` is applied to each array."""
        sources = tuple(move(source) for source in self.conv_sources) if self.conv_sources else ()
        without_bias = move(self.value_without_bias)
        same = self.value_with_bias is self.value_without_bias
        with_bias = without_bias if same else move(self.value_with_bias)
        return ChannelState(move(self.labels), without_bias, with_bias, self.exact, sources)

    def mapped(self, function: Callable[[Floats], Floats]) -> ChannelState:
        """The channels after a function of each value alone; it gets an array with both kinds of values."""
        values = np.array((self.value_without_bias, self.value_with_bias))
        not_constant = np.isnan(values)  # before the call, which may work in place
        after = function(values)
        np.copyto(after, np.nan, where=not_constant)  # some functions, such as `nan_to_num`, make it a number
        return ChannelState(self.labels, after[0], after[1], self.exact)

    def filled(self, value: Floats) -> ChannelState:
        """The same channels, all with this value."""
        return ChannelState(self.labels, value, value)

    def zero_padded(self) -> ChannelState:
        """The channels with a border of zeros: only the constant 0 stays a constant."""
        without_bias = np.where(self.value_without_bias == 0, 0.0, np.nan)
        exact = self.exact and not np.count_nonzero(self.value_with_bias)
        return ChannelState(self.labels, without_bias, self.value_with_bias, exact)

    def varies_only_along(self, axis: int, size: int) -> bool:
        """Whether these are `size` channels along `axis`, and they do not vary along any other axis."""
        return bool(1 < size == self.labels.size == self.labels.shape[axis])

    def as_vectors(self, axis: int, size: int) -> ChannelState | None:
        """The channels with 1-D arrays if they vary along `axis` alone; else None."""
        return self.rearranged(np.ndarray.ravel) if self.varies_only_along(axis, size) else None
