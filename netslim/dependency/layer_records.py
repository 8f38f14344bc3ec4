"""Records of the layers that a trace meets: convolutions and linear layers, and BatchNorms.

The words (label, tied channels, factor) are explained in `netslim.dependency.graph`. A record is replaced,
never changed. (The classes are not frozen: to make an object would take six times as long.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import Ints

__all__ = ["KernelGeometry", "NormLayer", "WeightedLayer"]


class KernelGeometry(NamedTuple):
    """How a convolution moves its kernel over the input; one number for each spatial axis.

    Args:
        input_size, output_size: the spatial size of the input and of the output.
        padding: the number of zeros before the input; behind it there may be one more.
    """

    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(eq=False, slots=True)
class WeightedLayer:
    """A convolution or linear layer. It mixes its inputs, so a removed input channel must be a constant.

    Args:
        weight, bias: the paths of its parameters; bias is "" for none.
        module: the path of the layer that owns them; "" if the model calls a function itself.
        standard: the layer runs as a module of torch.nn, so a bias that is added to it is used.
        inputs: the input channels, as 1-D arrays.
        outputs: int64[outputs], the labels of its output channels.
        geometry: None for a linear layer.
    """

    weight: str
    bias: str
    module: str
    standard: bool
    inputs: ChannelState
    outputs: Ints
    groups: int = 1
    geometry: KernelGeometry | None = None
    transposed: bool = False
    depthwise: bool = False

    @property
    def name(self) -> str:
        """The layer as a report shows it."""
        return self.module or self.weight

    @property
    def has_border_effects(self) -> bool:
        """Whether some outputs use only a part of the kernel: a constant input gives other values there."""
        return self.geometry is not None and (self.transposed or any(self.geometry.padding))


@dataclass(eq=False, slots=True)
class NormLayer:
    """A BatchNorm with scaling factors, and the channels before and behind it.

    Args:
        path: the name of the module, or of its weight if the model calls a function itself.
        is_module: it is a module.
        standard: its type is in torch.nn, so that a channel select can be put before and behind it.
        weight, bias, mean, variance: the paths of its vectors, "" for none.
        input_labels: the labels of the tensor that it reads.
        input_index: which of them it reads: all in order, if no earlier pass put a channel select there.
        output_labels: the labels of the tensor that it writes to.
        output_index: which of them it writes: all in order, likewise.
        conv_sources: those of its input; see `ChannelState`.
        placed: an earlier pass put a channel select behind it.
        fill: the path of the constants that this channel select adds; "" for none.
    """

    path: str
    is_module: bool
    standard: bool
    weight: str
    bias: str
    mean: str
    variance: str
    input_labels: Ints
    input_index: Ints
    output_labels: Ints
    output_index: Ints
    conv_sources: tuple[Ints, ...]
    placed: bool = False
    fill: str = ""

    @property
    def width(self) -> int:
        """The number of its scaling factors."""
        return self.input_index.size

    @property
    def vectors(self) -> tuple[str, ...]:
        """The paths of the vectors that it has."""
        return tuple(filter(None, (self.weight, self.bias, self.mean, self.variance)))
