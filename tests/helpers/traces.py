"""Run one operation on a traced tensor, and read what the trace records of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netslim.dependency.channel_state import ChannelState
from netslim.dependency.equivalence import equivalence_classes
from netslim.dependency.records import TraceRecords
from netslim.dependency.rules import RULES
from netslim.dependency.symbolic_size import plain
from netslim.dependency.tracer import TracedTensor

__all__ = ["Trace", "channels_of", "has_no_channels", "labels_of", "sizes"]


@dataclass
class Trace:
    """Traced tensors to compute with.

    Args:
        values: the parameters and buffers of the model, by path.
    """

    records: TraceRecords

    @classmethod
    def of(cls, values: Mapping[str, Tensor] | None = None) -> Trace:
        return cls(TraceRecords(values or {}, {}, RULES))

    def channels(
        self,
        *shape: int,
        axis: int = 1,
        without_bias: float = 0.0,
        with_bias: float = np.nan,
        sources: bool = False,
    ) -> TracedTensor:
        """A tensor with new channels along one axis, all with the same constants."""
        sizes = [size if number == axis else 1 for number, size in enumerate(shape)]
        labels = self.records.new_labels(shape[axis]).reshape(sizes)
        state = ChannelState(labels, np.full(sizes, without_bias), np.full(sizes, with_bias))
        state.conv_sources = (labels,) if sources else ()
        tensor = TracedTensor(shape, torch.float32, self.records)
        tensor.channels = state
        return tensor

    def unknown(self, *shape: int) -> TracedTensor:
        """A tensor of whose channels nothing is known."""
        return TracedTensor(shape, torch.float32, self.records, why="it is the input")

    def parameter(self, path: str) -> TracedTensor:
        value = self.records.values[path]
        return TracedTensor(value.shape, value.dtype, self.records, source=path)

    def classes(self) -> list[int]:
        """The class of each label."""
        found: list[int] = equivalence_classes(self.records.label_count, self.records.tied).tolist()
        return found

    def reasons(self) -> list[str]:
        """The reasons, without the line of the test."""
        return [item.reason.split(" at test_")[0] for item in self.records.unprunable]

    def unprunable(self) -> set[int]:
        """The labels that must stay."""
        return {int(label) for item in self.records.unprunable for label in item.labels.ravel()}

    def blocks(self) -> list[list[list[int]]]:
        return [blocks.tolist() for blocks in self.records.equal_blocks]


def sizes(tensor: Tensor) -> list[int]:
    """The shape as plain numbers: a comparison of channel counts would be recorded."""
    return [plain(size) for size in tensor.shape]


def channels_of(tensor: Tensor) -> ChannelState:
    """The state of a result's channels. The result must be a traced tensor with channels."""
    assert isinstance(tensor, TracedTensor)
    assert tensor.channels is not None
    return tensor.channels


def has_no_channels(tensor: Tensor) -> bool:
    """Whether the result is a traced tensor whose channels are not tracked any more."""
    assert isinstance(tensor, TracedTensor)
    return tensor.channels is None


def labels_of(tensor: Tensor) -> list[int]:
    """The labels of a result's channels, in order."""
    return [int(label) for label in channels_of(tensor).labels.ravel()]
