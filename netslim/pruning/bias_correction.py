"""The constant that the outputs of one layer lose with its removed inputs. See `bias_compensation`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from netslim.dependency.channel_state import Floats
from netslim.dependency.graph import Bools
from netslim.dependency.layer_records import KernelGeometry, WeightedLayer

__all__ = ["BiasCorrection"]


@dataclass(eq=False)
class BiasCorrection:
    """The constant that each output of one layer loses with its removed inputs.

    Args:
        layer: the convolution or linear layer.
        weight: its weight, as wide as it is before.
        removed_values: float64[inputs], the value of each removed input, 0 for kept ones.
        kept_outputs: bool[outputs].
    """

    layer: WeightedLayer
    weight: Tensor
    removed_values: Floats
    kept_outputs: Bools
    _offsets_of_rows: list[Floats] = field(default_factory=list)

    @property
    def one_row_per_output(self) -> bool:
        """Each output has one row of the weight, which reads all inputs, so `add` can be used."""
        return self.layer.groups == 1 and not self.layer.transposed

    @cached_property
    def weighted_inputs(self) -> npt.NDArray[Any]:
        """[groups, inputs of a group x taps, 1]: the values, times the share of taps inside the input.

        numpy multiplies a matrix and a vector in half the time of torch.
        """
        geometry, kernel, weighted = self.layer.geometry, self.weight.shape[2:], self.removed_values
        if geometry and self.layer.has_border_effects:
            weighted = np.multiply.outer(weighted, _share_inside(geometry, kernel, self.layer.transposed))
        elif geometry:
            weighted = weighted.repeat(math.prod(kernel))
        exact = self.weight.dtype == torch.float64
        return weighted.reshape(self.layer.groups, -1, 1).astype(np.float64 if exact else np.float32)

    def add(self, rows: Tensor) -> None:
        """Compute the offsets of the next kept outputs, in order, from their rows of the weight."""
        matrix = self._as_array(rows).reshape(len(rows), -1)
        self._offsets_of_rows.append(matrix @ self.weighted_inputs.ravel())

    def offset(self) -> Floats:
        """float64[outputs], to be added to the bias. Removed outputs may have any value."""
        offset = np.zeros(self.kept_outputs.size)
        if self._offsets_of_rows:
            offset[self.kept_outputs] = np.concatenate(self._offsets_of_rows)
            return offset
        groups, weight = self.layer.groups, self._as_array(self.weight)
        if self.layer.transposed:  # from (inputs, outputs of a group, taps)
            weight = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
        weighted = self.weighted_inputs
        offset[:] = (weight.reshape(groups, -1, weighted.shape[1]) @ weighted).ravel()
        return offset

    def _as_array(self, rows: Tensor) -> npt.NDArray[Any]:
        """Rows of the weight in the dtype of `weighted_inputs`: numpy lacks bfloat16."""
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        array: npt.NDArray[Any] = rows.detach().to("cpu", dtype).numpy()
        return array


@lru_cache(maxsize=256)
def _share_inside(geometry: KernelGeometry, kernel: tuple[int, ...], transposed: bool) -> Floats:
    """For each tap of a kernel, the share of the output positions at which it is inside the input."""
    if transposed:  # each input position reaches one output position through each tap
        return np.full(kernel, math.prod(geometry.input_size) / math.prod(geometry.output_size))
    shares = np.ones(())
    for axis, width in enumerate(kernel):
        first = np.arange(geometry.output_size[axis]) * geometry.stride[axis] - geometry.padding[axis]
        position = first[:, None] + np.arange(width) * geometry.dilation[axis]
        inside = (position >= 0) & (position < geometry.input_size[axis])
        shares = shares[..., None] * inside.mean(axis=0)
    return shares
