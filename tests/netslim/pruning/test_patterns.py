"""Layers by name: those in `keep` lose no channel, those in `layers` their share, found by plain sorting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ConfigError
from netslim.pruning.options import Policy
from tests.helpers.networks import NETWORKS, PreActivation, head
from tests.helpers.proof import prove, settled

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return settled(NETWORKS[name](), IMAGES)


def widths(model: nn.Module) -> dict[str, int]:
    """The outputs of each convolution, and the factors of each BatchNorm."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            found[path] = module.weight.shape[0]
    return found


@pytest.mark.parametrize("policy", ["auto", "group", "select"])
@pytest.mark.parametrize(
    "name", ["post-activation", "pre-activation, raw projection", "dense", "depthwise", "grouped"]
)
def test_a_kept_layer_keeps_its_width_and_others_make_up_for_it(name: str, policy: Policy) -> None:
    wide = network(name)
    before = widths(wide)
    for kept in list(before)[1::3]:
        result = prove(wide, IMAGES, policy=policy, percent=0.4, keep=[kept], control=False)
        after = widths(result.model)
        assert after[kept] == before[kept]
        assert sum(after.values()) < sum(before.values())


def test_a_pattern_stands_for_all_modules_inside() -> None:
    wide = network("chain")
    for keep in (["a", "b"], ["[ab]"], ["[ab].*"]):
        after = widths(netslim.prune(wide, IMAGES, percent=0.25, keep=keep).model)
        changed = {path.split(".")[0] for path, width in widths(wide).items() if after[path] != width}
        assert changed == {"c"}, keep
    report = netslim.preview(wide, IMAGES, keep="a")
    assert [row.why for row in report.rows if row.layer.startswith("a.")] == ["frozen: keep = a"]


def factors_of(model: nn.Module, norm: str) -> np.ndarray:
    return np.abs(model.get_parameter(f"{norm}.weight").detach().numpy())


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


@pytest.mark.parametrize("order", list(itertools.permutations([("*", 0.5), ("b", 0.2), ("b.1", 0.0)])))
def test_the_last_pattern_that_matches_a_layer_decides(order: Sequence[tuple[str, float]]) -> None:
    """The same mapping as a list of texts, as a pipeline passes it, gives the same."""
    wide = network("chain")
    shares = dict.fromkeys(("a.1", "b.1", "c.1", "bn"), 0.5)
    for pattern, share in order:
        shares = shares | ({"b.1": share} if pattern != "*" else dict.fromkeys(shares, share))
    expected = [factors_of(wide, norm).size * (1 - Fraction(str(share))) for norm, share in shares.items()]
    for layers in (dict(order), [f"{pattern}={share}" for pattern, share in order]):
        report = netslim.preview(wide, IMAGES, percent=0.9, layers=layers)
        assert [row.after for row in report.rows] == list(map(math.ceil, expected))
        unused = [pattern for pattern, _ in order if f"layers = {pattern} decides on no layer" in str(report)]
        last = [pattern for pattern, _ in order].index("*")
        assert unused == [pattern for pattern, _ in order[:last]] + (
            ["b"] if order.index(("b", 0.2)) > last and order[-1][0] == "b.1" else []
        ) + (["b.1"] if order.index(("b.1", 0.0)) > last and order[-1][0] == "b" else [])


def test_tied_layers_have_one_share() -> None:
    wide = network("post-activation")
    for layers in ({"project": 0.5, "two.2": 0.25}, {"two.2": 0.5, "one.1": 0.1, "project.*": 0.25}):
        report = netslim.preview(wide, IMAGES, layers=layers)
        assert [row.after for row in report.rows if row.before == 12] == [9]
    report = netslim.preview(wide, IMAGES, policy="select", layers={"project": 0.5, "two.2": 0.25})
    assert {row.layer: row.after for row in report.rows if row.layer in ("project.1", "two.2")} == {
        "project.1": 6,
        "two.2": 9,
    }


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


def test_a_pattern_on_frozen_layers_is_said() -> None:
    report = netslim.preview(network("attended"), IMAGES, policy="group", layers={"b": 0.5, "c": 0.5})
    (note,) = [note for note in report.notes if note.startswith("layers")]
    assert note.startswith("layers = b has no effect on layers that are frozen: b.1 (")
    zero = netslim.preview(network("attended"), IMAGES, policy="group", layers={"b": 0, "c": 0.5})
    assert not [note for note in zero.notes if note.startswith("layers")]


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


def test_where_every_layer_has_a_share_nothing_else_is_said() -> None:
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


class ReadsASum(nn.Module):
    """A BatchNorm that reads the sum of a convolution and a BatchNorm, and one of two convolutions."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.first = first
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv, self.bn1 = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.one, self.two = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.bn2, self.head = nn.BatchNorm2d(12), head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.stem(x)))
        y = self.conv(x)
        z = F.relu(self.bn1(y + x if self.first else x + y))
        return self.head(self.bn2(torch.cat([self.one(z), self.two(z)], 1)))


@pytest.mark.parametrize("first", [True, False])
def test_a_convolution_stands_for_the_norm_that_reads_it_directly(first: bool) -> None:
    torch.manual_seed(0)
    wide = settled(ReadsASum(first), IMAGES)
    for policy in ("auto", "select"):
        report = netslim.preview(wide, IMAGES, percent=0, policy=policy, layers={"stem": 0.5})
        assert {row.layer: row.after for row in report.rows} == {"bn0": 4, "bn1": 8, "bn2": 12}
        for name in ("conv", "one", "two", "head"):
            with pytest.raises(ConfigError, match=f"layers = {name}=0.5: no such layer has scaling factors"):
                netslim.preview(wide, IMAGES, policy=policy, layers={name: 0.5})


def test_a_depthwise_convolution_stands_for_the_norm_behind_it() -> None:
    report = netslim.preview(network("depthwise"), IMAGES, percent=0, layers={"depth.0": 0.5})
    assert {row.layer: row.after for row in report.rows if row.after < row.before} == {"expand.1 (+1)": 6}


def test_the_second_pass_matches_the_same_patterns() -> None:
    """A layer with one channel left has nothing to lose: the pattern is no error."""
    wide = network("pre-activation, raw projection")
    layers = {"conv1": 0.5, "bn3": 0.8, "stem": 0.25}
    expected = {"bn1": 8, "bn2": 6, "bn3": 12}
    shares = {"bn1": Fraction(1, 4), "bn2": Fraction(1, 2), "bn3": Fraction(4, 5)}
    for _ in range(4):
        result = prove(wide, IMAGES, percent=0, policy="select", layers=layers, control=False)
        expected = {name: width - math.floor(shares[name] * width) for name, width in expected.items()}
        wide = result.model
        assert {name: factors_of(wide, name).size for name in expected} == expected
        assert not [note for note in result.report.notes if "decides on no layer" in note]
    assert expected == {"bn1": 3, "bn2": 1, "bn3": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": ["stme"]}, r"keep = stme: no layer has such a name\. Did you mean stem\?"),
        ({"layers": {"stme": 0.3}}, r"layers = stme=0\.3: no layer has such a name\. Did you mean stem\?"),
        (
            {"layers": {"nothing.*": 0}},
            r"layers = nothing\.\*=0: no layer has .* See the names in model\.named_modul",
        ),
        ({"layers": {"project": 0.3}}, r"layers = project=0\.3: no such layer has scaling factors"),
        ({"layers": {"bn1": 0.3, "conv3": 0.3}}, r"layers = conv3=0\.3: no such layer has scaling factors"),
        (
            {"layers": {"head": 0.3}},
            r"layers = head=0\.3: .* could be pruned\. Name the BatchNorm behind the layer",
        ),
    ],
)
def test_a_pattern_without_a_layer_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        netslim.prune(PreActivation(raw=True), IMAGES.float(), **options)
