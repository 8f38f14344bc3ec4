"""The first lines of a report, for groups whose numbers are counted by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from netslim.cost import Cost
from netslim.pruning.budget import Target
from netslim.pruning.options import PruningOptions
from netslim.pruning.ranking import choose
from netslim.pruning.removal_steps import ChannelGroup
from netslim.pruning.summary import summary_by_percent, summary_by_target


def group(name: str, width: int, share: str = "", **others: Any) -> ChannelGroup:
    own = Fraction(share) if share else None
    return ChannelGroup(name, np.arange(1, width + 1, dtype=np.float64), share=own, **others)


PLAIN = [group("a", 10), group("b", 30, factors=2)]  # 70 factors
MIXED = [*PLAIN, group("c", 9, "0.5"), group("d", 7, "0.29", factors=3)]  # and 4 of 9, 6 of 21
FROZEN = [group("a", 10, frozen="keep = a"), group("c", 9, "0.5", frozen="feeds lstm")]


@pytest.mark.parametrize(
    ("groups", "options", "asked", "reached", "limits"),
    [
        (
            PLAIN,
            {"percent": 0.3},
            "30 % of 70 scaling factors over all layers: 21",
            "30.0%: 21 scaling factors",
            (),
        ),
        (
            MIXED,
            {"percent": 0.3},
            "30 % of 70 scaling factors over all other layers: 21; the shares of 2 layers: 10 of 30",
            "31.0%: 31 scaling factors, 10 of them by shares of single layers",
            (),
        ),
        (
            MIXED,
            {"percent": 0.3, "scope": "layer"},
            "30 % of 70 scaling factors in each other layer: 21; the shares of 2 layers: 10 of 30",
            "31.0%: 31 scaling factors, 10 of them by shares of single layers",
            (),
        ),
        (
            MIXED,
            {"percent": "dead"},
            "all factors at zero, |gamma| < 0.0001 in all other layers: 0 of 70; "
            "the shares of 2 layers: 10 of 30",
            "10.0%: 10 scaling factors, 10 of them by shares of single layers",
            (),
        ),
        (
            MIXED[2:3],
            {"percent": 0.3},
            "the shares of 1 layer: 4 of 9",
            "44.4%: 4 scaling factors",
            (),
        ),
        (  # the floor costs c and d one channel each; b makes up for what it leaves in a
            MIXED,
            {"percent": 0.29, "min_channels": 6},
            "29 % of 70 scaling factors over all other layers: 20; the shares of 2 layers: 10 of 30",
            "26.0%: 26 scaling factors, 6 of them by shares of single layers",
            ("floor: keeps 6 (2 channels more in 2 layers)",),
        ),
        (
            FROZEN,
            {"percent": 0.3},
            "30 % of 10 scaling factors over all other layers: 3; the shares of 1 layer: 4 of 9",
            "0.0%: 0 scaling factors, 0 of them by shares of single layers",
            (
                "frozen: keep = a (3 channels more in 1 layer)",
                "frozen: feeds lstm (4 channels more in 1 layer)",
            ),
        ),
    ],
)
def test_by_percent(
    groups: list[ChannelGroup], options: dict[str, Any], asked: str, reached: str, limits: tuple[str, ...]
) -> None:
    chosen = PruningOptions(**options)
    summary = summary_by_percent(groups, choose(groups, chosen), chosen)
    assert (summary.asked, summary.reached, summary.limits) == (asked, reached, limits)


def test_by_target_a_limit_counts_where_it_changes_a_share() -> None:
    groups = [group("a", 10), group("c", 9, "0.5")]
    choice = choose(groups, PruningOptions(percent=0.9, max_layer_percent=0.4))
    before, after = Cost(params=0, macs=1000, channels=19), Cost(params=0, macs=600, channels=12)
    summary = summary_by_target(groups, choice, Target("macs", 0.6), before=before, after=after)
    assert summary.asked == "macs=0.6: at most 600 of 1,000; the shares of 1 layer: 4 of 9"
    assert summary.reached == "macs=0.6: 600, without 36.8% of 19 scaling factors"
    assert summary.limits == ("cap: loses at most 0.4 (1 channel more in 1 layer)",)
