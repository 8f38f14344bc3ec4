"""Channels that the slim network still computes although nothing needs them, and what holds them back."""

from __future__ import annotations

from collections import Counter

import numpy as np

from netslim.dependency.graph import Bools, DependencyGraph

__all__ = ["held_back"]


def held_back(graph: DependencyGraph, removed: Bools) -> tuple[str, ...]:
    """A sentence for each reason, the one that holds most channels first.

    With channel selects a BatchNorm loses its factor although the tensor around it keeps the channel. If all
    BatchNorms around a channel lose theirs, only the reason why it is unprunable keeps the channel.

    Args:
        removed: bool[factors].
    """
    held = np.bincount(graph.class_reasons[graph.classes_without_need(removed)], minlength=1)
    reasons: Counter[str] = Counter()
    for number in np.flatnonzero(held[1:]) + 1:
        reasons[graph.reason_text(int(number))] += int(held[number])
    return tuple(
        f"{count} {'channel' if count == 1 else 'channels'} that no BatchNorm needs: {reason}"
        for reason, count in reasons.most_common()
    )
