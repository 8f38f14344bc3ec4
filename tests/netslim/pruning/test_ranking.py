"""The ranking against plain sorting, a plain loop over removal steps and the paper's own numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netslim.errors import ModelError
from netslim.pruning import ranking
from netslim.pruning.options import PruningOptions
from netslim.pruning.ranking import Choice
from netslim.pruning.removal_steps import ChannelGroup, RemovalSteps
from netslim.sparsity import ZERO_GAMMA


def group(name: str, *importance: float, factors: int = 1, blocks: int = 1, frozen: str = "") -> ChannelGroup:
    return ChannelGroup(name, np.array(importance, dtype=np.float64), factors, blocks, frozen)


def choose(groups: Sequence[ChannelGroup], **options: Any) -> Choice:
    return ranking.choose(groups, PruningOptions(**options))


def widths(choice: Choice) -> list[int]:
    return [len(kept) for kept in choice.keep.values()]


# Few distinct values, so that most draws are full of ties.
layers = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=5)
percents = st.integers(0, 99).map(lambda hundredths: hundredths / 100)


@given(layers, percents)
def test_without_limits_it_is_one_stable_sort(values: list[list[int]], percent: float) -> None:
    groups = [group(str(i), *layer) for i, layer in enumerate(values)]
    ranked = sorted((v, i, c) for i, layer in enumerate(values) for c, v in enumerate(layer))
    gone = ranked[: len(ranked) * round(percent * 100) // 100]
    # Every layer keeps a channel, so a draw that empties one is outside this test's truth.
    if any(sum(i == layer for _, layer, _ in gone) == len(values[i]) for i in range(len(values))):
        return
    choice = choose(groups, percent=percent)
    expected = {str(i): [c for c in range(len(v)) if (v[c], i, c) not in gone] for i, v in enumerate(values)}
    assert {name: kept.tolist() for name, kept in choice.keep.items()} == expected
    assert choice.removed == choice.requested == len(gone)
    assert choice.threshold == max((v for v, _, _ in gone), default=0)
    assert all(row.after == row.by_rank and not row.why for row in choice.rows)


@given(layers, percents, st.integers(1, 5), st.sampled_from([None, 0.25, 0.5, 0.9]), st.integers(1, 4))
def test_limits_hold_and_the_number_is_met_where_it_can_be(
    values: list[list[int]], percent: float, floor: int, cap: float | None, multiple: int
) -> None:
    groups = [group(str(i), *layer) for i, layer in enumerate(values)]
    limits: dict[str, Any] = {"min_channels": floor, "max_layer_percent": cap, "channel_multiple": multiple}
    choice = choose(groups, percent=percent, **limits)
    total = sum(map(len, values))
    assert choice.requested == total * round(percent * 100) // 100
    assert choice.removed == total - sum(widths(choice)) <= choice.requested
    caps = [len(layer) - math.floor((cap or 1) * len(layer)) for layer in values]
    taken = [0] * len(values)
    for _, i in sorted((value, i) for i, layer in enumerate(values) for value in layer):
        rules = floor if floor >= caps[i] else 0  # the cap is put on afterwards
        taken[i] += sum(taken) < choice.requested and taken[i] < len(values[i]) - rules
    for row, kept, layer in zip(choice.rows, choice.keep.values(), values, strict=True):
        assert (row.before, row.after) == (len(layer), len(kept))
        assert (row.why == "") == (row.after == row.by_rank)
        assert len(kept) == len(layer) or len(kept) % multiple == 0
        assert len(kept) >= min(max(floor, caps[int(row.layer)]), len(layer))
        gone = set(range(len(layer))) - set(kept.tolist())
        assert all((layer[g], g) < (layer[k], k) for g in gone for k in kept.tolist())
    if multiple == 1:
        assert widths(choice) == [
            max(len(layer) - lost, least) for layer, lost, least in zip(values, taken, caps, strict=True)
        ]


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    percents,
)
def test_grouped_and_coupled_channels(layers: list[tuple[int, int, list[int]]], percent: float) -> None:
    groups = [
        group(str(i), *(block * blocks), factors=factors, blocks=blocks)
        for i, (factors, blocks, block) in enumerate(layers)
    ]
    choice = choose(groups, percent=percent)
    gone = 0
    for own, kept in zip(groups, choice.keep.values(), strict=True):
        per_block = np.bincount(kept // (own.width // own.blocks), minlength=own.blocks)
        assert len(set(per_block.tolist())) == 1, "every block keeps the same number"
        assert per_block[0] >= 1
        gone += own.factors * (own.width - len(kept))
    assert gone == choice.removed <= choice.requested
    left = choice.requested - gone
    could = [
        own.factors * own.blocks
        for own, kept in zip(groups, choice.keep.values(), strict=True)
        if len(kept) > own.blocks
    ]
    assert all(cost > left for cost in could), "nothing that would still fit is left"


def plain_steps(groups: Sequence[ChannelGroup], options: PruningOptions, requested: int) -> list[int]:
    """Take the lowest step of all groups again and again: what `choose` does with one cumulative sum."""
    steps = [RemovalSteps.of(own, options) for own in groups]
    taken, ended, left = [0] * len(groups), set[int](), requested
    while True:
        open_ = [i for i, own in enumerate(steps) if i not in ended and taken[i] < own.scores.size]
        if not open_:
            return taken
        lowest = min(open_, key=lambda i: (steps[i].scores[taken[i]], i))
        if steps[lowest].costs[taken[lowest]] > left:
            ended.add(lowest)
        else:
            left -= int(steps[lowest].costs[taken[lowest]])
            taken[lowest] += 1


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.sampled_from([1, 2]), st.lists(st.integers(0, 3), min_size=1, max_size=6)
        ),
        min_size=1,
        max_size=4,
    ),
    percents,
    st.integers(1, 3),
)
def test_the_cumulative_sum_takes_the_steps_of_a_plain_loop(
    layers: list[tuple[int, int, list[int]]], percent: float, multiple: int
) -> None:
    groups = [
        group(str(i), *(block * blocks), factors=factors, blocks=blocks)
        for i, (factors, blocks, block) in enumerate(layers)
    ]
    options = PruningOptions(percent=percent, channel_multiple=multiple)
    choice = ranking.choose(groups, options)
    for own, taken in zip(groups, plain_steps(groups, options, choice.requested), strict=True):
        steps = RemovalSteps.of(own, options)
        removed = steps.order[: steps.removed_after[taken]]
        assert choice.keep[own.name].tolist() == sorted(set(range(own.width)) - set(removed.tolist()))


shares = st.none() | st.integers(0, 99).map(lambda hundredths: Fraction(hundredths, 100))


@given(
    st.lists(
        st.tuples(shares, st.integers(1, 3), st.lists(st.integers(0, 4), min_size=1, max_size=12)),
        min_size=1,
        max_size=5,
    ),
    percents | st.just("dead"),
    st.sampled_from(["global", "layer"]),
    st.integers(1, 3),
)
def test_a_share_is_a_ranking_of_its_own(
    layers: list[tuple[Fraction | None, int, list[int]]], percent: Any, scope: str, floor: int
) -> None:
    groups = [
        dataclasses.replace(group(str(i), *values, factors=factors), share=share)
        for i, (share, factors, values) in enumerate(layers)
    ]
    choice = choose(groups, percent=percent, scope=scope, min_channels=floor)
    others = [own for own in groups if own.share is None]
    alone = choose(others, percent=percent, scope=scope, min_channels=floor)
    assert [row.layer for row in choice.rows] == list(choice.keep) == [own.name for own in groups]
    requested, removed = alone.requested, alone.removed
    for own, row in zip(groups, choice.rows, strict=True):
        if own.share is None:
            assert choice.keep[own.name].tolist() == alone.keep[own.name].tolist()
            continue
        asked = own.share.numerator * own.width // own.share.denominator
        lost = max(0, min(asked, own.width - floor))
        gone = sorted(range(own.width), key=lambda channel: (own.importance[channel], channel))[:lost]
        assert choice.keep[own.name].tolist() == sorted(set(range(own.width)) - set(gone))
        assert row.why == ("" if lost == asked else f"floor: keeps {floor}")
        requested += asked * own.factors
        removed += lost * own.factors
    assert (choice.requested, choice.removed) == (requested, removed)


def test_each_block_keeps_its_own_best() -> None:
    choice = choose([group("conv", 1, 9, 5, 6, 2, 8, blocks=2)], percent=0.4)
    assert choice.keep["conv"].tolist() == [1, 2, 3, 5]


def test_a_coupled_channel_counts_once_for_each_factor() -> None:
    groups = [group("stream", 1, 2, 3, 4, factors=3), group("inner", 1.5, 2.5, 3.5, 4.5)]
    choice = choose(groups, percent=0.5)  # 8 of 16: 3 + 1 + 3 + 1
    assert (widths(choice), choice.removed) == ([2, 2], 8)
    choice = choose(groups, percent=0.4)  # 6 of 16: 3 + 1, then 3 does not fit, the inner ones do
    assert (widths(choice), choice.removed) == ([3, 1], 6)


def test_more_exact_zeros_than_asked_for_are_kept() -> None:
    zeros, live = group("a", *[0.0] * 90), group("b", *[1.0] * 10)
    choice = choose([zeros, live], percent=0.5)
    assert widths(choice) == [40, 10]
    assert choice.keep["a"].tolist() == list(range(50, 90))


def test_dead_takes_all_at_zero_and_nothing_else() -> None:
    tiny, alive = ZERO_GAMMA * 0.999, ZERO_GAMMA
    choice = choose([group("a", 0, tiny, alive, 1), group("b", tiny, 0, 0)], percent="dead")
    assert choice.keep["a"].tolist() == [2, 3]
    assert choice.keep["b"].tolist() == [0], "the floor leaves the greatest"
    assert choice.rows[1].why == "floor: keeps 1"
    assert (choice.requested, choice.removed, choice.threshold) == (5, 4, tiny)


def test_dead_in_blocks_needs_a_dead_channel_in_each_block() -> None:
    choice = choose([group("conv", 0, 0, 1, 0, 2, 3, blocks=2)], percent="dead")
    assert choice.keep["conv"].tolist() == [1, 2, 4, 5]
    assert choice.rows[0].why == "equal counts in 2 blocks"


def test_the_paper_s_mlp() -> None:
    rng = np.random.default_rng(0)
    groups = [ChannelGroup("fc1", rng.random(500)), ChannelGroup("fc2", 10 * rng.random(300))]
    assert widths(choose(groups, percent=0.8, scope="layer")) == [100, 60]
    assert widths(choose(groups, percent=0.8)) != [100, 60]


def test_what_a_cap_holds_back_stays() -> None:
    low, high = group("low", *range(10)), group("high", *range(10, 20))
    choice = choose([low, high], percent=0.5, max_layer_percent=0.7)
    assert widths(choice) == [3, 10]
    assert choice.keep["low"].tolist() == [7, 8, 9]
    assert [row.by_rank for row in choice.rows] == [0, 10]
    assert [row.why for row in choice.rows] == ["cap: loses at most 0.7", ""]
    assert (choice.requested, choice.removed) == (10, 7)


def test_a_cap_on_dead_layers_costs_no_live_channel() -> None:
    """The paper's multi-pass scheme, 50 % with a cap of 50 %: halving every layer is not what it means."""
    dead, live = group("dead", *[0.0] * 9, 1.0), group("live", *range(1, 11))
    choice = choose([dead, live], percent=0.5, max_layer_percent=0.5)
    assert widths(choice) == [5, 10]
    assert choice.threshold == 0.0


def test_what_a_floor_holds_back_comes_from_the_next_lowest() -> None:
    low, high = group("low", *range(10)), group("high", *range(10, 20))
    choice = choose([low, high], percent=0.5, min_channels=3)
    assert widths(choice) == [3, 7]
    assert choice.keep["high"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert [row.why for row in choice.rows] == [
        "floor: keeps 3",
        "makes up for layers that a limit held back",
    ]


def test_layer_scope_moves_nothing_between_layers() -> None:
    layers = [group("a", *range(3), frozen="attention"), group("b", *range(10))]
    assert widths(choose(layers, percent=0.5, scope="layer")) == [3, 5]


def test_frozen_channels_count_and_others_make_up_for_them() -> None:
    choice = choose([group("a", *range(5), frozen="feeds lstm"), group("b", *range(10, 15))], percent=0.4)
    assert choice.requested == choice.removed == 4
    assert widths(choice) == [5, 1]
    assert choice.rows[0].why == "frozen: feeds lstm"


def test_widths_are_rounded_up_and_never_beyond_the_full_width() -> None:
    choice = choose([group("a", *range(20)), group("b", *range(100, 106))], percent=0.4, channel_multiple=8)
    assert widths(choice) == [16, 6]
    assert choice.rows[0].why == "rounded up to a multiple of 8"


@pytest.mark.parametrize(("percent", "gone"), [(0.29, 29), (0.57, 57), (0.999, 99), (Fraction(1, 3), 33)])
def test_the_number_is_that_of_the_written_percent(percent: float | Fraction, gone: int) -> None:
    """0.29 * 100 is 28.999999999999996 in binary."""
    assert choose([group("a", *range(100))], percent=percent).removed == gone


def test_negative_zero_and_one_channel_layers() -> None:
    assert widths(choose([group("a", -0.0), group("b", 1.0)], percent=0.5)) == [1, 1]


def test_nothing_to_choose() -> None:
    choice = choose([], percent=0.5)
    assert (choice.keep, choice.rows, choice.removed, choice.threshold) == ({}, (), 0, 0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_diverged_factors(value: float) -> None:
    with pytest.raises(
        ModelError, match=r"features\.1: a scaling factor is NaN or infinite\. Its training diverged"
    ):
        choose([group("features.1", 1, value)], percent=0.5)
