"""Layers with a share of their own: against plain sorting, with limits, targets and budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from torch import nn

import netslim
from netslim.errors import ConfigError
from netslim.pruning.options import Policy
from tests.helpers.proof import prove
from tests.helpers.settled_networks import IMAGES, factors_of, network


def kept_of(result: netslim.PruneResult, wide: nn.Module, norm: str) -> list[int]:
    """The kept channels of a BatchNorm; a plan names only those that lose some."""
    kept = result.plan.kept
    return list(kept[norm]) if norm in kept else list(range(factors_of(wide, norm).size))


# By network: the policy, `layers`, and for each share the BatchNorms that lose it together, with the number
# of blocks that must stay equal. What `layers` does not name loses half, as one ranking.
SHARES: dict[str, tuple[Policy, dict[str, float], list[tuple[float, list[str], int]]]] = {
    "chain": (
        "auto",
        {"a": 0.3, "c.0": 0.5, "fc1": 0.34},
        [(0.3, ["a.1"], 1), (0.5, ["c.1"], 1), (0.34, ["bn"], 1)],
    ),
    "post-activation": (
        "auto",
        {"one.*": 0.25},  # the inner BatchNorm, and the stream that three of them write
        [(0.25, ["one.0.1"], 1), (0.25, ["one.2", "project.1", "two.2"], 1)],
    ),
    "pre-activation, raw projection": (
        "auto",
        {"bn?": 0.4, "bn1": 0.0},
        [(0.0, ["bn1"], 1), (0.4, ["bn2"], 1), (0.4, ["bn3"], 1), (0.4, ["bn4"], 1)],
    ),
    "dense": ("select", {"bn2": 0.4, "stem": 0.5}, [(0.4, ["bn2"], 1), (0.5, ["stem.1"], 1)]),
    "depthwise": ("auto", {"depth": 0.5}, [(0.5, ["expand.1", "depth.1"], 1)]),
    "grouped": ("auto", {"b": 0.36, "d": 0.13}, [(0.36, ["b.1"], 4), (0.13, ["d.1"], 1)]),
}


@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_that_of_plain_sorting(name: str) -> None:
    policy, layers, groups = SHARES[name]
    wide = network(name)
    result = prove(wide, IMAGES, policy=policy, percent=0.5, layers=layers, control=False)
    asked = 0
    for share, norms, blocks in groups:
        mean = np.mean([factors_of(wide, norm) for norm in norms], axis=0)
        lost = math.floor(Fraction(str(share)) * mean.size)
        lost -= lost % blocks  # b loses 8 of 24, two in each block
        gone = [
            channel + start
            for start in range(0, mean.size, mean.size // blocks)
            for channel in np.argsort(mean[start : start + mean.size // blocks])[: lost // blocks]
        ]
        expected = sorted(set(range(mean.size)) - set(map(int, gone)))
        assert [kept_of(result, wide, norm) for norm in norms] == [expected] * len(norms)
        asked += lost * len(norms)
    named = {norm for _, norms, _ in groups for norm in norms}
    others = {path for path, module in wide.named_modules() if isinstance(module, nn.BatchNorm2d)} - named
    total = sum(factors_of(wide, norm).size for norm in others)
    removed = sum(factors_of(wide, norm).size - len(kept_of(result, wide, norm)) for norm in others)
    assert 0 <= total // 2 - removed < (3 if name == "depthwise" else 1), "three factors are tied there"
    assert f"{asked + removed} scaling factors" in result.report.reached
    assert (f"{asked} of them by shares of single layers" in result.report.reached) == bool(others)


def test_the_others_are_ranked_without_the_layers_that_have_a_share() -> None:
    wide = network("chain")
    wide.get_parameter("a.1.weight").data.mul_(1e-3)
    result = netslim.prune(wide, IMAGES, percent=0.4, layers={"a.*": 0.2})
    ranked = sorted(
        (f, norm, i) for norm in ("b.1", "c.1", "bn") for i, f in enumerate(factors_of(wide, norm))
    )
    for norm in ("b.1", "c.1", "bn"):
        gone = {i for _, own, i in ranked[: len(ranked) * 4 // 10] if own == norm}
        assert set(kept_of(result, wide, norm)) == set(range(factors_of(wide, norm).size)) - gone
    assert result.report.asked == (
        "40 % of 31 scaling factors over all other layers: 12; the shares of 1 layer: 1 of 8"
    )
    assert result.report.limits == ()


LIMITS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "a cap": ("a", {"layers": {"a": 0.75}, "max_layer_percent": 0.5}, 4, "cap: loses at most 0.5"),
    "a floor": ("b", {"layers": {"b": 0.9}, "min_channels": 3}, 3, "floor: keeps 3"),
    "a multiple": ("c", {"layers": {"c": 0.5}, "channel_multiple": 4}, 8, "rounded up to a multiple of 4"),
    "keep": ("a", {"layers": {"a": 0.5}, "keep": ["a.1"]}, 8, "frozen: keep = a.1"),
    "one channel": ("b", {"layers": {"b": Fraction(99, 100)}}, 1, ""),
    "nothing": ("b", {"layers": {"b": 0.05}}, 10, ""),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_that_changes_a_share_is_in_the_report(name: str) -> None:
    layer, options, after, why = LIMITS[name]
    report = netslim.preview(network("chain"), IMAGES, percent=0, **options)
    (row,) = [row for row in report.rows if row.layer == f"{layer}.1"]
    (share,) = options["layers"].values()
    assert (row.by_rank, row.after, row.why) == (
        row.before - math.floor(Fraction(str(share)) * row.before),
        after,
        why,
    )
    assert [limit.startswith(why) for limit in report.limits] == [True] * bool(why)


def test_blocks_hold_for_a_share() -> None:
    report = netslim.preview(network("grouped"), IMAGES, percent=0, layers={"b": 0.3})  # 7 of 24
    (row,) = [row for row in report.rows if row.before == 24]
    assert (row.by_rank, row.after, row.why) == (17, 20, "equal counts in 4 blocks")
    assert report.limits == ("equal counts in 4 blocks (3 channels more in 1 layer)",)
    assert report.reached == "7.1%: 4 scaling factors, 4 of them by shares of single layers"


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_dead_and_layer_scope_are_for_the_others(scope: Any) -> None:
    wide = network("chain")
    for norm, zeros in (("a.1", 6), ("b.1", 3)):
        wide.get_parameter(f"{norm}.weight").data[:zeros] = 0
    report = netslim.preview(wide, IMAGES, percent="dead", scope=scope, layers={"a": 0.25, "c": 0.5})
    assert [row.after for row in report.rows] == [6, 7, 6, 9]
    assert report.asked == (
        "all factors at zero, |gamma| < 0.0001 in all other layers: 3 of 19; the shares of 2 layers: 8 of 20"
    )
    report = netslim.preview(wide, IMAGES, percent=0.4, scope="layer", layers={"a": 0.25, "c": 0.5})
    assert [row.after for row in report.rows] == [6, 6, 6, 6]
    assert report.asked == (
        "40 % of 19 scaling factors in each other layer: 7; the shares of 2 layers: 8 of 20"
    )


def test_where_every_layer_has_a_share_the_report_has_nothing_else() -> None:
    report = netslim.preview(network("chain"), IMAGES, layers={"*": 0.5})
    assert report.asked == "the shares of 4 layers: 19 of 39"
    assert report.reached == "48.7%: 19 scaling factors"


def test_a_target_searches_the_percent_of_the_others() -> None:
    wide, layers = network("chain"), {"a": 0.25, "c": 0.0}
    result = prove(wide, IMAGES, target="macs=0.68", percent=None, layers=layers)
    left = {
        norm: result.model.get_parameter(f"{norm}.weight").numel() for norm in ("a.1", "b.1", "c.1", "bn")
    }
    assert (left["a.1"], left["c.1"]) == (6, 12)
    assert result.after.macs <= 0.68 * result.before.macs
    removed = 19 - left["b.1"] - left["bn"]
    less = netslim.prune(wide, IMAGES, percent=Fraction(removed - 1, 19), layers=layers)
    assert less.after.macs > 0.68 * less.before.macs, "the least that meets the budget"
    assert "the shares of 2 layers: 2 of 20" in result.report.asked


@pytest.mark.parametrize(
    ("target", "layers", "message"),
    [
        (
            "macs=0.9",
            {"*": 0.5},
            r"macs=0\.9: cannot be met within 1%\. The largest that the shares .* is macs=0\.41",
        ),
        ("macs=0.1", {"*": 0.5}, r"The least that the shares in `layers` allow is macs=0\.41\d+ \(\d"),
        (
            "macs=0.2",
            {"[ab]": 0},
            r"The least that floors, caps, frozen channels and the shares in `layers` allow",
        ),
    ],
)
def test_a_budget_that_the_shares_do_not_allow(
    target: str, layers: Mapping[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        netslim.preview(network("chain"), IMAGES, target=target, layers=layers)


def test_a_budget_that_the_shares_alone_meet() -> None:
    wide = network("chain")
    result = netslim.prune(wide, IMAGES, percent=0, layers={"b": 0.4})
    by_target = netslim.prune(wide, IMAGES, target={"macs": result.after.macs}, layers={"b": 0.4})
    assert by_target.plan == result.plan
