"""Layers by name: those in `keep` lose no channel, those in `layers` their share, found by plain sorting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from netslim.errors import ConfigError
from netslim.pruning.options import Policy
from tests.helpers.networks import PreActivation, head
from tests.helpers.proof import prove, settled
from tests.helpers.settled_networks import IMAGES, factors_of, network


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


def test_a_pattern_on_frozen_layers_is_a_note() -> None:
    report = netslim.preview(network("attended"), IMAGES, policy="group", layers={"b": 0.5, "c": 0.5})
    (note,) = [note for note in report.notes if note.startswith("layers")]
    assert note.startswith("layers = b has no effect on layers that are frozen: b.1 (")
    zero = netslim.preview(network("attended"), IMAGES, policy="group", layers={"b": 0, "c": 0.5})
    assert not [note for note in zero.notes if note.startswith("layers")]


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
