"""Tied channels: the scaling factors that are removed together. The policies are in `pruning.groups`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netslim.dependency.equivalence import Ints, equivalence_classes
from netslim.dependency.graph import Bools, DependencyGraph
from netslim.pruning.options import Policy

__all__ = ["TiedChannels"]


@dataclass(frozen=True, eq=False)
class TiedChannels:
    """The factors of a network divided into tied channels.

    Args:
        of_factor: int64[factors], the tied channel of each factor.
        sizes: int64[tied], how many factors each tied channel has.
        factors: int64[factors], the factors ordered by tied channel, then by number.
        starts: int64[tied], where the factors of each tied channel begin in `factors`.
        norms: int64[factors], the BatchNorm of each entry of `factors`.
        reasons: int64[tied], why it cannot be removed (see `DependencyGraph.reason_text`); 0 if it can.
    """

    of_factor: Ints
    sizes: Ints
    factors: Ints
    starts: Ints
    norms: Ints
    reasons: Ints

    @classmethod
    def of(cls, graph: DependencyGraph, policy: Policy) -> TiedChannels:
        # A ChannelSelect can only stand around a BatchNorm whose type is known.
        no_select = ~np.array([norm.standard for norm in graph.norms])[graph.norm_of_factor]
        joint = _joint_classes(graph, policy, no_select) & (graph.class_reasons == 0)
        # All factors that read or feed a joint class are tied to one of them.
        pairs = []
        one = np.zeros(graph.class_count, dtype=np.int64)
        touched = [(of, np.flatnonzero(joint[of])) for of in (graph.input_class, graph.output_class)]
        for class_of, factors in touched:
            one[class_of[factors]] = factors
        for class_of, factors in touched:
            pairs.append((one[class_of[factors]], factors))
        of_factor = equivalence_classes(graph.norm_of_factor.size, pairs)
        sizes = np.bincount(of_factor)
        factors = np.argsort(of_factor, kind="stable")
        reason_of_factor = _factor_reasons(graph, policy, no_select)
        kept = np.flatnonzero(reason_of_factor)
        reasons = np.zeros(sizes.size, dtype=np.int64)
        np.maximum.at(reasons, of_factor[kept], reason_of_factor[kept])
        return cls(
            of_factor, sizes, factors, np.cumsum(sizes) - sizes, graph.norm_of_factor[factors], reasons
        )


def _joint_classes(graph: DependencyGraph, policy: Policy, no_select: Bools) -> Bools:
    """bool[classes]: the channels that are removed by all BatchNorms around them together."""
    if policy == "group":
        return np.ones(graph.class_count, dtype=bool)
    records = graph.records
    joint = np.zeros(graph.class_count, dtype=bool)
    feeders = np.bincount(graph.output_class, minlength=graph.class_count)
    if records.depthwise_inputs:  # BatchNorm, depthwise convolution, BatchNorm: no selection fits between
        joint[graph.class_of_label[np.concatenate(records.depthwise_inputs)]] = True
        joint &= feeders > 0
    if policy == "auto":  # outputs of several BatchNorms are added
        joint |= feeders > 1
    for labels in records.equal_blocks:
        joint[graph.class_of_label[labels]] = True
    joint[graph.input_class[no_select]] = joint[graph.output_class[no_select]] = True
    return joint


def _factor_reasons(graph: DependencyGraph, policy: Policy, no_select: Bools) -> Ints:
    """int64[factors]: the reason why a factor cannot be removed; 0 if it can."""
    reads, feeds = graph.class_reasons[graph.input_class], graph.class_reasons[graph.output_class]
    if policy != "group":  # with a selection, a BatchNorm can lose channels of a tensor that loses none
        reads, feeds = np.where(no_select, reads, 0), np.where(no_select, feeds, 0)
    return np.maximum(graph.factor_reasons, np.where(feeds > 0, feeds, reads))
