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

from netslim.dependency.channel_state import Channels, Floats
from netslim.dependency.equivalence import Ints

__all__ = ["IN", "OUT", "Frozen", "Norm", "Read", "Taps", "TraceRecords", "values_of"]

IN, OUT = -2, -1
"""The input and output channels of a convolution or linear weight, in whichever axes they lie."""

_NOT_THE_MODEL = tuple(f"{Path(file).parent}/" for file in (torch.__file__, __file__))


@dataclass(frozen=True, eq=False)
class Frozen:
    """Channels that have to stay where they are, and why."""

    labels: Ints
    reason: str


class Taps(NamedTuple):
    """How a convolution's kernel lies on its input; one number for each spatial axis.

    Args:
        size: the input's extent.
        out: the output's.
        padding: zeros before the input; behind it there may be one more.
    """

    size: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Read:
    """A convolution or linear layer mixes channels: the place where a removed channel must send nothing.

    Args:
        weight, bias: the paths of its parameters; "" for no bias.
        module: the path of the layer that they belong to; "" where the model calls a function itself.
        standard: the layer is of a type of torch.nn itself, so a bias that is added to it is used.
        inputs: the input channels, as vectors.
        outputs: the labels of its output channels.
        taps: None for a linear layer.
    """

    weight: str
    bias: str
    module: str
    standard: bool
    inputs: Channels
    outputs: Ints
    groups: int = 1
    taps: Taps | None = None
    transposed: bool = False
    depthwise: bool = False

    @property
    def bordered(self) -> bool:
        """Some outputs see less than the whole kernel: a constant input gives them another value."""
        return self.taps is not None and (self.transposed or any(self.taps.padding))


@dataclass(eq=False)
class Norm:
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
    module: bool
    standard: bool
    weight: str
    bias: str
    mean: str
    variance: str
    stream: Ints
    reads: Ints
    fed: Ints
    places: Ints
    terms: tuple[Ints, ...]
    fill: str = ""

    @property
    def width(self) -> int:
        return self.reads.size

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
    labels: int = 0
    same: list[tuple[Ints, Ints]] = field(default_factory=list)
    frozen: list[Frozen] = field(default_factory=list)
    bound: list[Ints] = field(default_factory=list)
    balanced: list[Ints] = field(default_factory=list)
    leaked: list[Ints] = field(default_factory=list)
    axes: dict[tuple[str, int], Ints] = field(default_factory=dict)
    pinned: dict[str, str] = field(default_factory=dict)
    reads: dict[str, Read] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=dict)
    branches: bool = False
    """Set when the model's own code decides by `self.training`: its other mode has to be run too."""
    again: bool = False
    """The network runs a second time, in its other mode: constants are those of the first."""

    def numbers(self, path: str) -> Floats:
        """The numbers in a parameter or buffer, of its shape."""
        return values_of(self.values[path])

    def new(self, count: int) -> Ints:
        """Labels for `count` channels that are like no other yet."""
        self.labels += count
        return np.arange(self.labels - count, self.labels)

    def merge(self, a: Ints, b: Ints) -> None:
        """a[i] and b[i] are the same channel: they go together or stay together."""
        if a is not b:
            self.same.append((a, b))

    def freeze(self, labels: Ints, reason: str) -> None:
        """These channels must stay, in this place."""
        if labels.size:
            self.frozen.append(Frozen(labels, reason))

    def balance(self, blocks: Ints) -> None:
        """Each row of `blocks` must lose as many channels as every other."""
        if len(blocks) > 1:
            self.balanced.append(blocks)

    def axis(self, path: str, axis: int, size: int) -> Ints:
        """The labels along an axis of a parameter, the same ones whenever it is used."""
        labels = self.axes.get((path, axis))
        return self.hold(path, axis, self.new(size)) if labels is None else labels

    def hold(self, path: str, axis: int, labels: Ints) -> Ints:
        """An axis of a parameter holds these channels; returns what it was first said to hold."""
        first = self.axes.setdefault((path, axis), labels)
        self.merge(first, labels)
        if path in self.pinned:
            self.freeze(labels, self.pinned[path])
        return first

    def pin(self, path: str, reason: str) -> None:
        """A parameter is used in a way that is not understood: all of it must stay."""
        if path not in self.pinned:
            self.pinned[path] = reason
            for (other, _), labels in self.axes.items():
                if other == path:
                    self.freeze(labels, reason)

    def owner(self, path: str, kind: type[nn.Module]) -> tuple[str, bool]:
        """The module of this kind that a parameter belongs to ("" for none), and if it is one of torch.nn."""
        parent = path.rpartition(".")[0]
        module = self.modules.get(parent)
        if not isinstance(module, kind):
            return "", False
        return parent, type(module).__module__.startswith("torch.nn.modules.")

    def where(self) -> str:
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


def values_of(tensor: Tensor) -> Floats:
    """The numbers in a tensor, of its shape."""
    numbers: Floats = tensor.detach().to("cpu", torch.float64).numpy()
    return numbers
