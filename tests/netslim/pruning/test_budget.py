"""Budgets on a chain of layers whose cost can be written down, against trying every percent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netslim.cost import Cost
from netslim.errors import ConfigError
from netslim.pruning.budget import TOLERANCE, Target, percent_for
from netslim.pruning.options import PruningOptions
from netslim.pruning.ranking import choose
from netslim.pruning.removal_steps import ChannelGroup
from netslim.pruning.shares import exact

WIDTHS = [20, 30, 24]
WIDE = [48, 64, 96]


def chain(
    seed: int, widths: list[int] = WIDTHS, shares: Sequence[float | None] = (), **limits: Any
) -> tuple[Callable[[Fraction], Cost], list[int]]:
    """A chain of linear layers from 3 inputs to 10 outputs, each hidden layer with factors of its own."""
    rng = np.random.default_rng(seed)
    groups = [
        ChannelGroup(str(layer), rng.random(width), share=None if own is None else exact(own))
        for layer, (width, own) in enumerate(zip_longest(widths, shares))
    ]
    asked: list[int] = []

    def cost_at(percent: Fraction) -> Cost:
        asked.append(int(percent * sum(widths)))
        choice = choose(groups, PruningOptions(percent=percent, **limits))
        kept = [3, *(row.after for row in choice.rows), 10]
        macs = sum(a * b for a, b in pairwise(kept))
        return Cost(params=macs + sum(kept[1:]), macs=macs, channels=sum(kept[1:-1]))

    return cost_at, asked


def solve(text: str, cost_at: Callable[[Fraction], Cost], widths: list[int] = WIDTHS) -> Fraction:
    return percent_for(Target.parse(text), cost_at, before=cost_at(Fraction(0)), factors=sum(widths))


@settings(deadline=None)
@given(st.integers(0, 20), st.sampled_from(["macs", "params", "flops"]), st.floats(0.05, 0.95))
def test_the_least_percent_within_the_budget(seed: int, measure: str, share: float) -> None:
    cost_at, asked = chain(seed)
    target, before = Target.parse({measure: share}), cost_at(Fraction(0))
    goal = share * target.of(before)
    every = [target.of(cost_at(Fraction(k, sum(WIDTHS)))) for k in range(sum(WIDTHS))]
    first = next(k for k, cost in enumerate(every) if cost <= goal)
    nearest = min(abs(every[k] / goal - 1) for k in (first, first - 1))
    asked.clear()
    if nearest > TOLERANCE:
        with pytest.raises(ConfigError, match=rf"\({every[first]:,}\) and .*\({every[first - 1]:,}\)"):
            percent_for(target, cost_at, before=before, factors=sum(WIDTHS))
    else:
        found = int(percent_for(target, cost_at, before=before, factors=sum(WIDTHS)) * sum(WIDTHS))
        within = every[first] >= (1 - TOLERANCE) * goal
        assert found == (first if within else first - 1), "within the budget where possible"
    assert len(asked) <= 8, "74 counts need 7 halvings, and one look at the least"


def test_an_absolute_budget() -> None:
    cost_at, _ = chain(0, WIDE)
    assert cost_at(solve("params=4000", cost_at, WIDE)).params == pytest.approx(4000, rel=0.01)


def test_limits_are_inside_the_search() -> None:
    cost_at, _ = chain(0, WIDE, max_layer_percent=0.6)
    with pytest.raises(
        ConfigError, match=r"target = macs=0.1: cannot .* The least that .* allow is macs=0\.\d{4}"
    ):
        solve("macs=0.1", cost_at, WIDE)
    assert cost_at(solve("macs=0.4", cost_at, WIDE)).macs / cost_at(Fraction(0)).macs == pytest.approx(
        0.4, rel=0.01
    )


def test_a_coarse_network_is_refused_with_its_neighbours() -> None:
    cost_at, _ = chain(0, [4])  # 13 MACs for each of four channels
    with pytest.raises(ConfigError, match=r"macs=0\.5000 \(26\) and macs=0\.7500 \(39\)"):
        solve("macs=0.6", cost_at, [4])
    assert solve("macs=0.503", cost_at, [4]) == Fraction(2, 4)
    assert solve("macs=0.497", cost_at, [4]) == Fraction(2, 4), "at most 1 % above where nothing is within"


@settings(deadline=None)
@given(
    st.integers(0, 20),
    st.floats(0.05, 0.99),
    st.lists(st.sampled_from([None, 0.0, 0.3, 0.7]), min_size=3, max_size=3),
)
def test_the_percent_of_the_layers_without_a_share(
    seed: int, share: float, shares: list[float | None]
) -> None:
    cost_at, _ = chain(seed, shares=shares)
    free = sum(width for width, own in zip(WIDTHS, shares, strict=True) if own is None)
    before = chain(seed)[0](Fraction(0))
    goal = share * before.macs
    every = [cost_at(Fraction(k, free or 1)).macs for k in range(free or 1)]
    reachable = [cost for cost in every if abs(cost - goal) <= TOLERANCE * goal]
    arguments: Any = {"before": before, "factors": free, "start": cost_at(Fraction(0))}
    if not reachable:
        with pytest.raises(ConfigError) as caught:
            percent_for(Target("macs", share), cost_at, **arguments)
        below, above = (
            max((c for c in every if c < goal), default=None),
            min((c for c in every if c > goal), default=None),
        )
        assert caught.value.remedy is not None
        assert all(f"({cost:,})" in caught.value.remedy for cost in (below, above) if cost is not None)
    else:
        within = [cost for cost in reachable if cost <= goal]
        found = cost_at(percent_for(Target("macs", share), cost_at, **arguments)).macs
        assert found == (max(within) if within else min(reachable))


def test_the_least_network_may_be_one_percent_above_the_budget() -> None:
    cost_at, _ = chain(0, shares=[0.0, None, 0.0])
    arguments: Any = {"before": chain(0)[0](Fraction(0)), "factors": 30, "start": cost_at(Fraction(0))}
    found = percent_for(Target("macs", 341), cost_at, **arguments)
    assert (found, cost_at(found).macs) == (Fraction(29, 30), 344)
    with pytest.raises(ConfigError, match=r"The least that .* allow is macs=0\.2123 \(344\)"):
        percent_for(Target("macs", 340), cost_at, **arguments)


@pytest.mark.parametrize("target", ["flops=1", "params=1e9", {"macs": 1.0}])
def test_a_budget_that_is_met_already_is_refused(target: Any) -> None:
    cost_at, _ = chain(0)
    with pytest.raises(ConfigError, match=r"already\. Ask for less"):
        percent_for(Target.parse(target), cost_at, before=cost_at(Fraction(0)), factors=sum(WIDTHS))


def test_text_and_mapping_are_the_same() -> None:
    assert Target.parse(" flops = 0.5 ") == Target.parse({"flops": 0.5}) == Target("flops", 0.5)
    assert str(Target("flops", 0.5)) == "flops=0.5"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("flops", "target = flops: must be one measure and its budget. Write for example flops=0.5"),
        ("flops=half", "target = flops=half: must be one"),
        ({"flops": 0.5, "params": 0.5}, "must be one measure and its budget"),
        ({}, "must be one measure"),
        (0.5, "target = 0.5: must be one measure"),
        ("latency=0.5", "target = latency: unknown measure. Use one of params, macs, flops"),
        ("flops=0", "target = flops=0: must be a number above 0"),
        ("flops=-2", "target = flops=-2: must be a number above 0"),
        ("flops=nan", "target = flops=nan: must be a number above 0"),
        ("flops=inf", "target = flops=inf: must be a number above 0"),
    ],
)
def test_wrong_targets(target: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Target.parse(target)
