"""What one run of a network on traced tensors teaches: who reads which channel, and what must stay whole."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from netslim.dependency.channel_state import ChannelState, Floats
from netslim.dependency.equivalence import Ints

__all__ = [
    "IN",
    "OUT",
    "KernelGeometry",
    "NormLayer",
    "TraceRecords",
    "Unprunable",
    "WeightedLayer",
    "to_numpy",
]

IN, OUT = -2, -1
"""The input and output channels of a convolution or linear weight, in whichever axes they lie."""

_NOT_THE_MODEL = tuple(f"{Path(file).parent}/" for file in (torch.__file__, __file__))


@dataclass(frozen=True, eq=False)
class Unprunable:
    """ChannelState that have to stay where they are, and why."""

    labels: Ints
    reason: str


class KernelGeometry(NamedTuple):
    """How a convolution's kernel lies on its input; one number for each spatial axis.

    Args:
        size: the input's extent.
        out: the output's.
        padding: zeros before the input; behind it there may be one more.
    """

    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(eq=False, slots=True)
class WeightedLayer:
    """A convolution or linear layer mixes channels: the place where a removed channel must send nothing.

    Args:
        weight, bias: the paths of its parameters; "" for no bias.
        module: the path of the layer that they belong to; "" where the model calls a function itself.
        standard: the layer is of a type of torch.nn itself, so a bias that is added to it is used.
        inputs: the input channels, as vectors.
        outputs: the labels of its output channels.
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
    def has_border_effects(self) -> bool:
        """Some outputs see less than the whole kernel: a constant input gives them another value."""
        return self.geometry is not None and (self.transposed or any(self.geometry.padding))


@dataclass(eq=False)
class NormLayer:
    """A BatchNorm with scaling factors, and the channels it stands between.

    Args:
        path: the module's name, or its weight's where the model calls a function itself.
        module: it is a module.
        standard: of a type of torch.nn itself, so that selections can be put before and after it.
        weight, bias, mean, variance: the paths of its vectors, "" for none.
        stream: the labels of the tensor it reads.
        reads: which of them; all in order, unless an earlier pass selected.
        fed: the labels of the tensor its output lies in.
        places: where in it; all in order, unless an earlier pass made a narrow branch of it.
        fill: the path of the constants that such a branch adds; "" for none.
        terms: for each term of what it reads, the labels of the convolution outputs, -1 for none.
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
    fill: str = ""

    @property
    def width(self) -> int:
        return self.input_index.size

    @property
    def vectors(self) -> tuple[str, ...]:
        """The paths of the vectors that it has."""
        return tuple(filter(None, (self.weight, self.bias, self.mean, self.variance)))


@dataclass(eq=False)
class TraceRecords:
    """Collects what the rules find out.

    Args:
        values: the real network's parameters and buffers, by path.
        modules: its modules, by path.
        paths: the path of each module of the skeleton that is run, by id.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    paths: Mapping[int, str] = field(default_factory=dict)
    label_count: int = 0
    tied: list[tuple[Ints, Ints]] = field(default_factory=list)
    unprunable: list[Unprunable] = field(default_factory=list)
    depthwise_inputs: list[Ints] = field(default_factory=list)
    equal_blocks: list[Ints] = field(default_factory=list)
    uncompensated_sources: list[Ints] = field(default_factory=list)
    axes: dict[tuple[str, int], Ints] = field(default_factory=dict)
    kept_whole: dict[str, str] = field(default_factory=dict)
    weighted_layers: dict[str, WeightedLayer] = field(default_factory=dict)
    norms: dict[str, NormLayer] = field(default_factory=dict)
    depends_on_mode: bool = False
    """Set when the model's own code decides by `self.training`: its other mode has to be run too."""
    second_mode: bool = False
    """The network runs a second time, in its other mode: constants are those of the first."""

    def values_of(self, path: str) -> Floats:
        """The numbers in a parameter or buffer, of its shape."""
        return to_numpy(self.values[path])

    def new_labels(self, count: int) -> Ints:
        """Labels for `count` channels that are like no other yet."""
        self.label_count += count
        return np.arange(self.label_count - count, self.label_count)

    def tie(self, a: Ints, b: Ints) -> None:
        """a[i] and b[i] are the same channel: they go together or stay together."""
        if a is not b:
            self.tied.append((a, b))

    def mark_unprunable(self, labels: Ints, reason: str) -> None:
        """These channels must stay, in this place."""
        if labels.size:
            self.unprunable.append(Unprunable(labels, reason))

    def require_equal_blocks(self, blocks: Ints) -> None:
        """Each row of `blocks` must lose as many channels as every other."""
        if len(blocks) > 1:
            self.equal_blocks.append(blocks)

    def axis_labels(self, path: str, axis: int, size: int) -> Ints:
        """The labels along an axis of a parameter, the same ones whenever it is used."""
        labels = self.axes.get((path, axis))
        return self.tie_axis(path, axis, self.new_labels(size)) if labels is None else labels

    def tie_axis(self, path: str, axis: int, labels: Ints) -> Ints:
        """An axis of a parameter holds these channels; returns what it was first said to hold."""
        first = self.axes.setdefault((path, axis), labels)
        self.tie(first, labels)
        if path in self.kept_whole:
            self.mark_unprunable(labels, self.kept_whole[path])
        return first

    def keep_whole(self, path: str, reason: str) -> None:
        """A parameter is used in a way that is not understood: all of it must stay."""
        if path not in self.kept_whole:
            self.kept_whole[path] = reason
            for (other, _), labels in self.axes.items():
                if other == path:
                    self.mark_unprunable(labels, reason)

    def owning_module(self, path: str, kind: type[nn.Module]) -> tuple[str, bool]:
        """The module of this kind that a parameter belongs to ("" for none), and if it is one of torch.nn."""
        parent = path.rpartition(".")[0]
        module = self.modules.get(parent)
        if not isinstance(module, kind):
            return "", False
        return parent, type(module).__module__.startswith("torch.nn.modules.")

    def source_line(self) -> str:
        """The line of the model's own code that is running, and the module it belongs to."""
        frame, module = sys._getframe(1), ""
        while frame.f_back is not None:
            frame = frame.f_back
            path = self.paths.get(id(frame.f_locals.get("self")), "")
            module = module or path
            file = frame.f_code.co_filename
            if not file.startswith(_NOT_THE_MODEL):
                line = f"{Path(file).name}:{frame.f_lineno}"
                return f"{line} ({module})" if module else line
        return module or "the model"


def to_numpy(tensor: Tensor) -> Floats:
    """The numbers in a tensor, of its shape."""
    numbers: Floats = tensor.detach().to("cpu", torch.float64).numpy()
    return numbers
