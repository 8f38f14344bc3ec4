"""Pruned equals masked on a network for each hard case, under every policy, in the right layers."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.networks import NETWORKS
from tests.helpers.proof import prove, settled

POLICIES = ("auto", "group", "select")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("percent", [0.25, 0.5])
def test_pruned_equals_masked(name: str, policy: str, percent: float) -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    prove(settled(NETWORKS[name](), images), images, policy=policy, percent=percent)
