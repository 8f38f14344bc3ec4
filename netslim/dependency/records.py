"""What one run of a network on traced tensors records: ties between channels, and the layers that use them.

The words (label, tied channels, class, factor, block) are explained in `netslim.dependency.graph`.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from netslim.dependency.channel_state import Floats
from netslim.dependency.equivalence import Ints
from netslim.dependency.layer_records import NormLayer, WeightedLayer
from netslim.dependency.rule import RuleTable
from netslim.nn.module_copy import is_of_torch

__all__ = ["IN", "OUT", "AttributeKey", "TraceRecords", "Unprunable", "to_numpy"]

IN, OUT = -2, -1
"""The input and the output channels of a convolution or linear weight, whichever axes of it they are."""

AttributeKey = tuple[str, str, int]
"""The path of a module, the name of its attribute, and the position in the list there (else 0)."""

_CPU = torch.device("cpu")
_HERE = Path(__file__).parent
_NOT_THE_MODEL = tuple(f"{folder}/" for folder in (Path(torch.__file__).parent, _HERE, _HERE.parent / "nn"))


@dataclass(frozen=True, eq=False)
class Unprunable:
    """Channels that must stay at their place, and the reason."""

    labels: Ints
    reason: str


@dataclass(eq=False)
class TraceRecords:
    """The records of one trace. The rules add to them while the network runs.

    Args:
        values: the parameters and buffers of the real network, by path.
        modules: its modules, by path.
        rules: how each operation of torch is treated.
        paths: the path of each module of the skeleton that runs, by `id`.
        label_count: how many labels there are; they are numbered from 0.
        tied: pairs of arrays (a, b); a[i] and b[i] are labels of the same channel.
        unprunable: the channels that must stay, in the order in which the reasons were met.
        depthwise_inputs: for each depthwise convolution, the labels of its inputs.
        equal_blocks: int64[blocks, labels]; the rows must lose equally many channels.
        equal_counts: pairs of arrays (a, b), equally long; a and b must lose equally many channels.
        read_vectors: the paths of vectors, such as biases, that are used as tensors of the network.
        constants: numbers in the model's code that hold channels back.
        attribute_sizes: the channels that a number in an attribute of a module counts.
        used_attributes: numbers in attributes that are used otherwise as well, so they must stay.
        uncompensated_sources: convolution outputs whose corrections no running mean behind them can absorb.
        axes: by the path of a parameter and its axis (or IN, OUT), the labels along it.
        kept_whole: the reason why a parameter must stay as it is, by path.
        weighted_layers: the convolution and linear layers, by the path of their weight.
        norms: the BatchNorms with scaling factors, by the path of their weight.
        running_layer: the path of the layer of torch.nn that is followed without its `forward`; else None.
        second_mode: the network runs for the second time, in train mode, and makes other calls than in eval
            mode. The values of constants are those of the first run.
        batch_counter: in place of `num_batches_tracked` of all BatchNorms, which train mode counts up.
        device: the device of the network.
        notes: sentences for the report.
    """

    values: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module]
    rules: RuleTable
    paths: Mapping[int, str] = field(default_factory=dict)
    label_count: int = 0
    tied: list[tuple[Ints, Ints]] = field(default_factory=list)
    unprunable: list[Unprunable] = field(default_factory=list)
    depthwise_inputs: list[Ints] = field(default_factory=list)
    equal_blocks: list[Ints] = field(default_factory=list)
    equal_counts: list[tuple[Ints, Ints]] = field(default_factory=list)
    read_vectors: set[str] = field(default_factory=set)
    constants: set[int] = field(default_factory=set)
    attribute_sizes: defaultdict[AttributeKey, list[Ints]] = field(default_factory=lambda: defaultdict(list))
    used_attributes: set[AttributeKey] = field(default_factory=set)
    uncompensated_sources: list[Ints] = field(default_factory=list)
    axes: dict[tuple[str, int], Ints] = field(default_factory=dict)
    kept_whole: dict[str, str] = field(default_factory=dict)
    weighted_layers: dict[str, WeightedLayer] = field(default_factory=dict)
    norms: dict[str, NormLayer] = field(default_factory=dict)
    running_layer: str | None = None
    second_mode: bool = False
    batch_counter: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    notes: list[str] = field(default_factory=list)

    def values_of(self, path: str) -> Floats:
        """The numbers in a parameter or buffer: float64, of its shape. Not to be written to."""
        vector = self._vectors.get(path)
        return to_numpy(self.values[path]) if vector is None else vector

    @cached_property
    def _vectors(self) -> dict[str, Floats]:
        """The numbers in vectors of the network: one conversion takes as long as that of one vector.

        Running variances are left out, because nothing reads them.
        """
        paths: defaultdict[tuple[torch.device, torch.dtype], list[str]] = defaultdict(list)
        for path, tensor in self.values.items():
            of_torch = type(tensor) in (Tensor, nn.Parameter) and tensor.is_floating_point()
            if of_torch and tensor.dim() == 1 and not path.endswith("running_var"):
                paths[tensor.device, tensor.dtype].append(path)
        vectors: dict[str, Floats] = {}
        for some in paths.values():
            numbers = to_numpy(torch.cat([self.values[path].detach() for path in some]))
            ends = np.cumsum([len(self.values[path]) for path in some])
            vectors.update(zip(some, np.split(numbers, ends[:-1]), strict=True))
        return vectors

    def new_labels(self, count: int) -> Ints:
        """Labels for `count` channels that are not tied to any other yet."""
        self.label_count += count
        return np.arange(self.label_count - count, self.label_count)

    def tie(self, a: Ints, b: Ints) -> None:
        """a[i] and b[i] are the same channel: both are removed, or both stay."""
        if a is not b:
            self.tied.append((a, b))

    def mark_unprunable(self, labels: Ints, reason: str) -> None:
        """These channels must stay at their place."""
        if labels.size:
            self.unprunable.append(Unprunable(labels, reason))

    def require_equal_blocks(self, blocks: Ints) -> None:
        """The rows of `blocks` must lose equally many channels."""
        if len(blocks) > 1:
            self.equal_blocks.append(blocks)

    def axis_labels(self, path: str, axis: int, size: int) -> Ints:
        """The labels along an axis of a parameter; new ones when it is used for the first time."""
        labels = self.axes.get((path, axis))
        return self.tie_axis(path, axis, self.new_labels(size)) if labels is None else labels

    def tie_axis(self, path: str, axis: int, labels: Ints) -> Ints:
        """The channels along an axis of a parameter are these; returns the labels that were given first."""
        first = self.axes.setdefault((path, axis), labels)
        self.tie(first, labels)
        if path in self.kept_whole:
            self.mark_unprunable(labels, self.kept_whole[path])
        return first

    def keep_whole(self, path: str, reason: str) -> None:
        """A parameter is used in a way that has no rule: the channels along all its axes must stay."""
        if path not in self.kept_whole:
            self.kept_whole[path] = reason
            for (other, _), labels in self.axes.items():
                if other == path:
                    self.mark_unprunable(labels, reason)

    def owning_module(self, path: str, kind: type[nn.Module]) -> tuple[str, bool]:
        """The module of this kind that owns a parameter, "" for none; and whether its type is in torch.nn."""
        parent = path.rpartition(".")[0]
        module = self.modules.get(parent)
        if not isinstance(module, kind):
            return "", False
        return parent, is_of_torch(module)

    def source_line(self) -> str:
        """The line of the model's own code that is running, and the module that it belongs to."""
        frame, module = inspect.currentframe(), ""
        while frame is not None and frame.f_back is not None:
            frame = frame.f_back
            path = self.paths.get(id(frame.f_locals.get("self")), "")
            module = module or path
            file = frame.f_code.co_filename
            if not file.startswith(_NOT_THE_MODEL):
                line = f"{Path(file).name}:{frame.f_lineno}"
                return f"{line} ({module})" if module else line
        return module or "the model"


def to_numpy(tensor: Tensor) -> Floats:
    """The numbers in a tensor: float64, of its shape."""
    return cast(Floats, tensor.detach().to(_CPU, torch.float64).numpy())
