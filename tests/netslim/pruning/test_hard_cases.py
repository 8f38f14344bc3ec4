"""The truths of pruning, on a small network for each hard case and under each policy that makes a difference.

Without compensation, pruned equals masked in eval and in train mode. A second pass composes with the first
into one plan. With compensation, pruned equals the wide network with gamma at 0, or a note names the layer.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.pruning.options import Policy
from netslim.pruning.plan import Plan
from tests.helpers.networks import NETWORKS
from tests.helpers.proof import gammas_at_zero, outputs, prove, relative, settled

POLICIES: tuple[Policy, ...] = ("auto", "group", "select")
IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def wide_network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return settled(NETWORKS[name](), IMAGES)


def policies_that_differ(wide: nn.Module, percent: float) -> Iterator[Policy]:
    """The policies that lead to different plans, each once."""
    plans: list[Plan] = []
    for policy in POLICIES:
        plan = netslim.prune(wide, IMAGES, percent=percent, policy=policy).plan
        if plan not in plans:
            plans.append(plan)
            yield policy


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_equals_masked_and_two_passes_compose(name: str) -> None:
    wide = wide_network(name)
    for policy in policies_that_differ(wide, percent=0.5):
        first = prove(wide, IMAGES, policy=policy, percent=0.5)
        second = netslim.prune(first.model, IMAGES, percent=0.25, policy=policy)
        both = Plan.from_json(json.loads(json.dumps(first.plan.then(second.plan).to_json())))
        rebuilt = netslim.apply_plan(wide, both)
        rebuilt.load_state_dict(second.model.state_dict())
        assert torch.equal(outputs(rebuilt, IMAGES), outputs(second.model, IMAGES)), policy
        assert Plan.empty().then(both) == both


@pytest.mark.parametrize("name", NETWORKS)
def test_compensation_is_exact_where_no_layer_is_named(name: str) -> None:
    wide = wide_network(name)
    for policy in policies_that_differ(wide, percent=0.25):
        result = netslim.prune(wide, IMAGES, percent=0.25, policy=policy)
        truth: Tensor = outputs(gammas_at_zero(copy.deepcopy(wide), result.plan.kept), IMAGES)
        difference = relative(outputs(result.model, IMAGES), truth)
        notes = [note for note in result.report.notes if "on average" in note or "not compensated" in note]
        assert bool(notes) == (difference > 1e-9), f"{policy}: {difference:.1e} and {result.report.notes}"
