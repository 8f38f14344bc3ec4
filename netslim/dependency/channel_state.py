"""What is known of one tensor's channels: which is which, and what each still sends once it is removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from netslim.dependency.equivalence import Ints

__all__ = ["ChannelState", "Floats"]

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@dataclass(eq=False, slots=True)
class ChannelState:
    """Arrays with as many axes as the tensor; an axis is 1 long where nothing changes along it.

    A feature map of shape (N, C, H, W) has arrays of shape (1, C, 1, 1). Because they lie like the tensor,
    an operation that only moves values (a transpose, a chunk, a flatten) is done to them literally.

    Args:
        labels: the number of the channel that lies there. Equal numbers are surely the same channel; `Facts`
            learns which different numbers are as well.
        masked: what stays there once the channel's scaling factor and bias are 0; NaN if not a constant.
        constant: what stays there once the scaling factor is 0 and the bias is not; NaN if not a constant.
        exact: False where `constant` ignores a border that zero padding gave another value.
        terms: labels of the convolution outputs that were added up here, -1 for none: if a constant were
            missing in such an output, as much would be missing here.
    """

    labels: Ints
    value_without_bias: Floats
    value_with_bias: Floats
    exact: bool = True
    conv_sources: tuple[Ints, ...] = ()

    @classmethod
    def raw(cls, labels: Ints) -> ChannelState:
        """ChannelState of which nothing is known, such as a convolution's outputs."""
        unknown = np.full(labels.shape, np.nan)
        return cls(labels, unknown, unknown)

    def moved(self, move: Callable[[Array], Array]) -> ChannelState:
        """The same channels after an operation that only moves values."""
        terms = tuple(move(term) for term in self.conv_sources) if self.conv_sources else ()
        masked = move(self.value_without_bias)
        constant = masked if self.value_with_bias is self.value_without_bias else move(self.value_with_bias)
        return ChannelState(move(self.labels), masked, constant, self.exact, terms)

    def valued(self, function: Callable[[torch.Tensor], torch.Tensor]) -> ChannelState:
        """The same channels after a function of each value alone."""
        sent = np.array((self.value_without_bias, self.value_with_bias))
        unknown = np.isnan(sent)
        after = function(torch.from_numpy(sent)).numpy()
        after[unknown] = np.nan  # some functions take NaN for a number
        return ChannelState(self.labels, after[0], after[1], self.exact)

    def unknown(self) -> ChannelState:
        """The same channels, whatever they hold."""
        return ChannelState.raw(self.labels)

    def filled(self, sent: Floats) -> ChannelState:
        """The same channels, all holding `sent`."""
        return ChannelState(self.labels, sent, sent)

    def padded(self) -> ChannelState:
        """The same channels with a border of zeros: only a constant 0 stays a constant."""
        masked = np.where(self.value_without_bias == 0, 0.0, np.nan)
        exact = self.exact and not bool((self.value_with_bias != 0).any())
        return ChannelState(self.labels, masked, self.value_with_bias, exact)

    def lie_along(self, axis: int, size: int) -> bool:
        """Whether they are `size` channels along `axis`, and nothing changes along any other."""
        return bool(1 < size == self.labels.size == self.labels.shape[axis])

    def along(self, axis: int, size: int) -> ChannelState | None:
        """The channels as vectors if they lie along `axis`; else None."""
        return self.moved(np.ndarray.ravel) if self.lie_along(axis, size) else None
