"""Channel groups against a plain grouping by dictionaries, on a small network for each hard case."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from netslim.dependency.graph import DependencyGraph
from netslim.dependency.trace import trace
from netslim.nn.module_copy import ModuleIndex
from netslim.pruning.groups import _constraints, group_channels
from netslim.pruning.options import Policy
from netslim.pruning.tied_channels import TiedChannels
from tests.helpers.networks import NETWORKS


def plain_groups(graph: DependencyGraph, policy: Policy) -> tuple[set[frozenset[int]], dict[Any, list[int]]]:
    """The groups and the blocks as sets of tied channels, by one dictionary key per tied channel."""
    tied = TiedChannels.of(graph, policy)
    factors_of = defaultdict(list)
    for factor, number in enumerate(tied.of_factor.tolist()):
        factors_of[number].append(factor)
    group_key = {
        number: [int(tied.reasons[number]), *(int(graph.norm_of_factor[factor]) for factor in factors)]
        for number, factors in factors_of.items()
    }
    block_key: dict[int, list[int]] = {number: [] for number in factors_of}
    constraints, broken = _constraints(graph, tied)
    assert not broken
    for number, (_, rows) in enumerate(constraints):
        for row, channels in enumerate(rows.tolist()):
            for channel in set(channels):
                group_key[channel] += [-1, number]
                block_key[channel] += [-1, row]
    groups, blocks = defaultdict(set), defaultdict(list)
    for number in factors_of:
        groups[tuple(group_key[number])].add(number)
        blocks[tuple(group_key[number]), tuple(block_key[number])].append(number)
    return {frozenset(members) for members in groups.values()}, blocks


@pytest.mark.parametrize("policy", ["auto", "group", "select"])
@pytest.mark.parametrize("name", NETWORKS)
def test_refinement_finds_the_groups_and_blocks_of_a_plain_grouping(name: str, policy: Policy) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    graph = DependencyGraph(trace(ModuleIndex.of(model), torch.zeros(2, 3, 12, 12)))
    result = group_channels(graph, policy)  # first, because it may mark labels as unprunable
    groups, blocks = plain_groups(graph, policy)
    assert {frozenset(members.tolist()) for members in result.members.values()} == groups
    found = set()
    for group in result.groups:
        rows = result.members[group.name].reshape(group.blocks, -1)
        found |= {frozenset(row.tolist()) for row in rows}
        factors = [np.flatnonzero(result.tied_of_factor == number) for number in rows.ravel()]
        assert {own.size for own in factors} == {group.factors}
        np.testing.assert_allclose(group.importance, [graph.importance[own].mean() for own in factors])
    assert found == {frozenset(block) for block in blocks.values()}
