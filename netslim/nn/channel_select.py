"""Layers between tensors of different width: the paper's channel selection (section 3), and its inverse.

A stream that several layers share stays as wide as any of them needs. A layer that needs less *selects* its
channels first, so that its own factors go too; one that has less to give *places* its channels in the stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

__all__ = ["ChannelSelect", "place", "select"]


class ChannelSelect(nn.Module):
    """A layer that reads some channels of its input, or writes to some channels of its output.

    Exports to ONNX as one Gather for `reads`, and as Pad and Gather (and Add, with `fill`) for `places`.

    Args:
        layer: any layer that keeps channels in axis 1.
        reads: the channels of the input that `layer` gets, in order; None for all.
        places: the channel of the output in which each channel of `layer` lies; None for the same.
        width: how many channels the output has, if `places` are given.
        fill: True to give each channel a constant of its own (buffer `fill`, at first 0), which is how
            channels outside `places` keep what they used to send.
    """

    reads: Tensor | None
    sources: Tensor | None
    fill: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        reads: Sequence[int] | None = None,
        places: Sequence[int] | None = None,
        width: int = 0,
        fill: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        like = next(layer.parameters())
        sources = None
        if places is not None:
            sources = torch.full((width,), len(places))  # one behind the last: the channel of zeros
            sources[list(places)] = torch.arange(len(places))
        # The indices are structure, told by the plan; only `fill` is learnt from the network's weights.
        index = None if reads is None else torch.tensor(list(reads), device=like.device)
        self.register_buffer("reads", index, persistent=False)
        self.register_buffer(
            "sources", None if sources is None else sources.to(like.device), persistent=False
        )
        self.register_buffer(
            "fill", torch.zeros(width, dtype=like.dtype, device=like.device) if fill else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.reads is not None:
            x = select(x, self.reads)
        x = self.layer(x)
        if self.sources is not None:
            x = place(x, self.sources, self.fill)
        return x


def select(x: Tensor, reads: Tensor) -> Tensor:
    """The channels `reads` (int64[k]) of x (N, C, ...), as (N, k, ...)."""
    if has_torch_function_unary(x):
        return handle_torch_function(select, (x,), x, reads)
    return x.index_select(1, reads)


def place(x: Tensor, sources: Tensor, fill: Tensor | None) -> Tensor:
    """Channels of x (N, k, ...) in a wider tensor (N, width, ...).

    Args:
        sources: int64[width], the channel of x that lies there; k for none, which gives 0.
        fill: [width], added to every channel; None for 0.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(place, (x,), x, sources, fill)
    spatial = x.dim() - 2
    wide = F.pad(x, (0, 0) * spatial + (0, 1)).index_select(1, sources)
    return wide if fill is None else wide + fill.view(-1, *(1,) * spatial)
