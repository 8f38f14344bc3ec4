"""Joined tensors: the terms of each, unknown channels, and channels at one place are tied."""

from __future__ import annotations

import torch

from tests.helpers.traces import Trace, channels_of, labels_of


def test_concat_along_the_channels_keeps_each_tensor_s_terms() -> None:
    trace = Trace.of()
    a, b = trace.channels(1, 2, 2, 2, sources=True), trace.channels(1, 3, 2, 2)
    joined = channels_of(torch.cat([a, b], 1))
    assert joined.labels.ravel().tolist() == [0, 1, 2, 3, 4]
    assert [source.ravel().tolist() for source in joined.conv_sources] == [[0, 1, -1, -1, -1]]
    assert not trace.unprunable()


def test_concat_with_unknown_channels_gives_new_ones_that_must_stay() -> None:
    trace = Trace.of()
    joined = torch.cat([trace.channels(1, 2, 2, 2), trace.unknown(1, 3, 2, 2), torch.zeros(1, 1, 2, 2)], 1)
    assert labels_of(joined) == [0, 1, 2, 3, 4, 5]
    assert trace.unprunable() == {2, 3, 4, 5}
    assert trace.reasons() == ["it is the input", "they are a constant of the model"]


def test_concat_across_ties_the_channels_and_keeps_common_constants() -> None:
    trace = Trace.of()
    a, b = trace.channels(1, 2, 2, 2, with_bias=3.0), trace.channels(1, 2, 2, 2, with_bias=5.0)
    joined = channels_of(torch.cat([a, b], 2))
    assert trace.classes() == [0, 1, 0, 1]
    assert joined.value_without_bias.ravel().tolist() == [0.0, 0.0]
    assert str(joined.value_with_bias.ravel().tolist()) == "[nan, nan]"
