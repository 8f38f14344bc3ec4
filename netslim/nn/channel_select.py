"""The paper's channel selection layer (section 3), and its inverse.

A tensor that several layers share (a residual stream) keeps every channel that one of them needs. A layer
that needs fewer channels *selects* them first, so its own scaling factors can be pruned. A layer that
computes fewer channels *places* them in the wider tensor.
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

    In ONNX it is one Gather for `reads`, and Pad and Gather (and Add, with constants) for `places`.

    Args:
        layer: any layer with channels in axis 1.
        reads: the channels of the input that `layer` gets, in order; None for all.
        places: for each channel of `layer`, its channel in the output; None if the output is the same.
        width: the channels of the output, if `places` are given.
        constants: True to add a constant to each channel of the output, at first 0. Channels outside `places`
            have nothing else: it is the value they had before they were pruned. The buffer is named `fill`
            in files.
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
        constants: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        like = next(layer.parameters())
        sources = None
        if places is not None:
            sources = torch.full((width,), len(places))  # index of the channel of zeros behind the last
            sources[list(places)] = torch.arange(len(places))
        # The plan defines the indices, so they are not in the state dict; the constants come from weights.
        index = None if reads is None else torch.tensor(list(reads), device=like.device)
        self.register_buffer("reads", index, persistent=False)
        self.register_buffer(
            "sources", None if sources is None else sources.to(like.device), persistent=False
        )
        self.register_buffer(
            "fill", torch.zeros(width, dtype=like.dtype, device=like.device) if constants else None
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


def place(x: Tensor, sources: Tensor, constants: Tensor | None) -> Tensor:
    """The channels of x (N, k, ...) in a wider tensor (N, width, ...).

    Args:
        sources: int64[width], for each channel of the result its channel in x; k for a channel of zeros.
        constants: [width], added to the channels; None for 0.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(place, (x,), x, sources, constants)
    spatial = x.dim() - 2
    wide = F.pad(x, (0, 0) * spatial + (0, 1)).index_select(1, sources)
    return wide if constants is None else wide + constants.view(-1, *(1,) * spatial)
