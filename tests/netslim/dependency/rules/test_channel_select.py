"""A channel select of an earlier pass: which channels its BatchNorm reads and writes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netslim.dependency import TraceRecords, trace
from netslim.nn.channel_select import add_channel_select
from netslim.nn.module_copy import ModuleIndex


class Model(nn.Module):
    def __init__(self, calls: int) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 5, 1), calls
        self.norm = nn.BatchNorm2d(3)
        add_channel_select(self.norm, [0, 2, 4], [3, 0, 1], width=4, fill=torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.norm(self.conv(x)) for _ in range(self.calls))  # type: ignore[return-value]


def records(calls: int) -> TraceRecords:
    return trace(ModuleIndex.of(Model(calls)), torch.zeros(1, 3, 4, 4))


def test_the_record_has_the_channels_that_are_read_and_written() -> None:
    found = records(1)
    (norm,) = found.norms.values()
    outputs = found.weighted_layers["conv.weight"].outputs
    assert (norm.path, norm.width, norm.placed, norm.fill) == ("norm", 3, True, "norm.fill")
    assert norm.input_labels.tolist() == outputs.tolist()
    assert norm.input_index.tolist() == [0, 2, 4]
    assert norm.output_labels.size == 4
    assert norm.output_index.tolist() == [3, 0, 1]


def test_a_second_call_writes_the_same_channels() -> None:
    once, twice = records(1), records(2)
    (first,), (second,) = once.norms.values(), twice.norms.values()
    assert second.output_labels.size == first.output_labels.size
    assert twice.label_count == once.label_count + 3  # the channels of the image, at the second call
