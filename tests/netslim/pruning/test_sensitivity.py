"""The errors of single pruned layers against networks that are masked, or pruned by their shares, by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netslim
from netslim.errors import ConfigError, ModelError, NetslimError
from netslim.pruning import analysis
from netslim.pruning.options import Policy
from netslim.pruning.sensitivity_table import LayerSensitivity, Sensitivity
from tests.helpers.networks import NETWORKS
from tests.helpers.proof import gammas_at_zero, settled

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SHARES = (0.25, 0.5, 0.75)


class Perceptron(nn.Module):
    """Without padding: compensation is exact, so pruning is the same as gamma = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.bn1 = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.two, self.bn2 = nn.Linear(8, 5), nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.bn2(self.two(torch.relu(self.bn1(self.one(x)))))))


INPUTS = torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return settled(Perceptron(), INPUTS)


def difference(inputs: Tensor, wanted: Tensor | float = 0.0) -> Callable[[nn.Module], float]:
    """An error: the mean distance of a network's outputs to some others."""

    def error(network: nn.Module) -> float:
        assert not network.training
        with torch.no_grad():
            return float((network(inputs) - wanted).abs().mean())

    return error


def numbered(errors: Any) -> Callable[[nn.Module], float]:
    """One error after another, whatever the network."""
    given = iter(errors)
    return lambda network: next(given)


def test_the_errors_are_those_of_the_network_with_the_lowest_factors_at_zero() -> None:
    wide = perceptron()
    error = difference(INPUTS, 0.3)
    found = netslim.sensitivity(wide, INPUTS, error, shares=SHARES)
    assert found.error == error(wide)
    assert [(row.layer, row.norm, row.channels) for row in found.rows] == [
        ("bn1", "bn1", 8),
        ("bn2", "bn2", 5),
    ]
    for row in found.rows:
        gamma = wide.get_parameter(f"{row.norm}.weight").abs()
        for share, kept, measured in zip(SHARES, row.kept, row.errors, strict=True):
            order = gamma.argsort().tolist()[math.floor(share * row.channels) :]
            assert kept == len(order)
            assert measured == pytest.approx(error(gammas_at_zero(wide, {row.norm: order})), rel=1e-12)


@pytest.mark.parametrize("policy", ["auto", "group", "select"])
@pytest.mark.parametrize("name", ["chain", "post-activation", "dense", "depthwise", "grouped", "functional"])
def test_the_shares_lead_prune_to_the_same_networks(name: str, policy: Policy) -> None:
    """For one layer with the same error; for all of them with the channels that each row has."""
    torch.manual_seed(0)
    wide = settled(NETWORKS[name](), IMAGES)
    error = difference(IMAGES)
    found = netslim.sensitivity(wide, IMAGES, error, shares=SHARES, policy=policy)
    norms = [row.norm for row in found.rows]
    for row in found.rows:
        if norms.count(row.norm) > 1 or not row.norm:
            continue
        for share, kept, measured in zip(SHARES, row.kept, row.errors, strict=True):
            others = dict.fromkeys(found.layers(0), 0.0)
            others.pop(row.norm)
            others[row.norm] = share  # the last pattern of tied layers counts
            pruned = netslim.prune(wide, IMAGES, layers=others, percent=0, policy=policy)
            after = {each.layer: each.after for each in pruned.report.rows}
            if after == {each.layer: each.before for each in pruned.report.rows} | {row.layer: kept}:
                assert error(pruned.model) == pytest.approx(measured, rel=1e-9)
            else:
                assert policy != "auto", "with auto, no layer has the first BatchNorm of another one"
                assert after[row.layer] == kept

    # Another share for each layer, so that a share at the wrong layer is seen.
    random = torch.Generator().manual_seed(3)
    errors = 1 + 2 * torch.rand(1000, generator=random)
    found = netslim.sensitivity(
        wide, IMAGES, numbered([1.0, *errors.tolist()]), shares=SHARES, max_increase=1.0, policy=policy
    )
    together = netslim.prune(wide, IMAGES, layers=found.layers(), percent=0, policy=policy)
    after = {each.layer: each.after for each in together.report.rows}
    for row in found.rows:
        share = found.share_of(row)
        wanted = row.kept[SHARES.index(share)] if share else row.channels
        if norms.count(row.norm) == 1 and row.norm:
            assert after[row.layer] == wanted
        elif row.norm:
            assert after[row.layer] >= wanted


def test_a_group_has_the_share_of_its_own_key_although_others_match_it() -> None:
    """With the policy `group`, the channels of the stem are read by every BatchNorm of a dense network."""
    torch.manual_seed(0)
    wide = settled(NETWORKS["dense"](), IMAGES)
    found = netslim.sensitivity(wide, IMAGES, difference(IMAGES), policy="group", shares=[0.5])
    assert len(found.rows) > 1
    errors = [found.error + (0 if number == 0 else 5) for number, _ in enumerate(found.rows)]
    rows = tuple(
        LayerSensitivity(row.layer, row.norm, row.channels, row.kept, (error,))
        for row, error in zip(found.rows, errors, strict=True)
    )
    layers = Sensitivity(found.error, (0.5,), rows, 1.0).layers()
    report = netslim.prune(wide, IMAGES, layers=layers, percent=0, policy="group").report
    assert {row.layer for row in report.rows if row.after < row.before} == {rows[0].layer}


def test_the_model_stays_as_it_is_and_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = perceptron().train()
    wide.bn2.eval()  # type: ignore[union-attr]
    before, modes = copy.deepcopy(wide.state_dict()), [module.training for module in wide.modules()]
    traces, evaluations = count(), count()
    run = analysis.trace
    monkeypatch.setattr(analysis, "trace", lambda *arguments: (next(traces), run(*arguments))[1])

    def spoil(network: nn.Module) -> float:
        next(evaluations)
        assert not any(module.training for module in network.modules())
        for tensor in network.state_dict().values():
            tensor.zero_()
        return 1.0

    # 1 of 5 channels is less than a fifth and a half of two: three numbers of channels in all
    netslim.sensitivity(wide, INPUTS, spoil, shares=(0.1, 0.2, 0.39, 0.4))
    assert next(traces) == 1
    assert next(evaluations) == 1 + len({1, 3}) + len({1, 2})
    assert all(torch.equal(before[name], tensor) for name, tensor in wide.state_dict().items())
    assert modes == [module.training for module in wide.modules()]


def test_statistics_are_estimated_again_only_behind_channels_that_are_not_at_zero() -> None:
    wide = perceptron()
    wide.bn1.weight.data[:4] = 0  # type: ignore[union-attr, operator]
    batches = [INPUTS[:10], INPUTS[10:] + 0.5]
    error = difference(INPUTS)
    found = netslim.sensitivity(wide, INPUTS, error, batches=iter(batches), shares=[0.5, 0.75])
    plain = netslim.sensitivity(wide, INPUTS, error, shares=[0.5, 0.75])
    assert found.error == plain.error
    assert found.rows[0].errors[0] == plain.rows[0].errors[0] == pytest.approx(found.error, rel=1e-12)
    for row, others in zip(found.rows, ({"bn2": 0}, {"bn1": 0}), strict=True):
        pruned = netslim.prune(wide, INPUTS, layers={**others, row.norm: 0.75}).model
        netslim.recalibrate(pruned, batches)
        assert row.errors[1] == pytest.approx(error(pruned), rel=1e-9)
    assert found.rows[0].errors[1] != pytest.approx(plain.rows[0].errors[1], rel=1e-3)


@pytest.mark.parametrize(
    ("errors", "increase", "share"),
    [
        ((0.7, 0.7, 0.8), 0.1, 0.75),  # in binary fractions 0.7 + 0.1 is less than 0.8
        ((0.7, 0.7, 0.81), 0.1, 0.5),
        ((0.9, 0.7, 0.9), 0.1, 0.5),  # the largest one that is good enough, although a smaller one is not
        ((0.9, 0.9, 0.9), 0.1, 0.0),
        ((0.6, 0.71, 0.71), 0.0, 0.25),
    ],
)
def test_the_largest_share_within_the_limit_is_proposed(
    errors: tuple[float, ...], increase: float, share: float
) -> None:
    row = LayerSensitivity("bn (+1)", "bn", 8, (6, 4, 2), errors)
    found = Sensitivity(0.7, SHARES, (row,), increase)
    assert found.layers() == {"bn": share} == Sensitivity(0.7, SHARES, (row,), 50).layers(increase)


def test_layers_with_the_same_first_norm_have_the_smaller_share_and_names_are_no_patterns() -> None:
    rows = (
        LayerSensitivity("bn[0]", "bn[0]", 8, (4,), (1.0,)),
        LayerSensitivity("a (+1)", "a", 8, (4,), (9.0,)),
        LayerSensitivity("a [4-7]", "a", 4, (2,), (1.0,)),
        LayerSensitivity("b", "b", 4, (2,), (1.0,)),
        LayerSensitivity("b (+1)", "b", 8, (4,), (9.0,)),
        LayerSensitivity("weight", "", 4, (2,), (1.0,)),
    )
    assert Sensitivity(1.0, (0.5,), rows, 1.0).layers() == {"b": 0.0, "a": 0.0, "bn[[]0]": 0.5}


def test_the_table_is_text_and_json() -> None:
    found = netslim.sensitivity(
        perceptron(), INPUTS, numbered([1, 4.0, 1.5, 1.125, 2, 3, 1]), max_increase=0.5
    )
    assert str(found).splitlines() == [
        "error 1.00 of the whole network; shares that raise it by 0.5 at most",
        "layer  channels  -25 %  -50 %  -75 %  share",
        "bn1           8   1.12   1.50   4.00    0.5",
        "bn2           5   1.00   3.00   2.00   0.25",
    ]
    data = found.to_json()
    assert data["layers"] == {"bn2": 0.25, "bn1": 0.5} == found.layers()
    assert [row["errors"] for row in data["rows"]] == [[1.125, 1.5, 4.0], [1, 3, 2]]
    assert [row["kept"] for row in data["rows"]] == [[6, 4, 2], [4, 3, 2]]


class Frozen(nn.Module):
    """The BatchNorm's channels leave the network."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"shares": [0.5, 1.0]}, ConfigError, r"shares = 1\.0: each must be a number above 0 and below 1"),
        ({"shares": [50]}, ConfigError, r"shares = 50: each .* Write 0\.5 for 50 %"),
        ({"shares": [0]}, ConfigError, r"shares = 0: each must be"),
        ({"shares": [math.nan]}, ConfigError, r"shares = nan: each must be"),
        ({"shares": ["0.5"]}, ConfigError, r"shares = 0\.5: each must be"),
        ({"shares": []}, ConfigError, r"shares: there is none"),
        ({"max_increase": -1}, ConfigError, r"max_increase = -1: must be a number from 0 on"),
        ({"max_increase": math.inf}, ConfigError, r"max_increase = inf: must be"),
        ({"policy": "none"}, ConfigError, r"policy = none: must be one of"),
        (
            {"evaluate": numbered([math.nan])},
            ConfigError,
            r"evaluate = nan: .* of the whole network, which is not",
        ),
        (
            {"evaluate": numbered([1.0, 2.0, math.inf])},
            ConfigError,
            r"evaluate = inf: is the error of bn1 without 0\.5 of its channels, which is not finite",
        ),
        (
            {"evaluate": lambda network: None},
            ConfigError,
            r"evaluate: returned a NoneType for the whole network",
        ),
        ({"model": Frozen().double(), "policy": "group"}, ModelError, r"model: no layer can be pruned \("),
    ],
)
def test_a_mistake_is_one_clear_error(
    changed: dict[str, Any], kind: type[NetslimError], message: str
) -> None:
    arguments: dict[str, Any] = {"model": perceptron(), "example_input": INPUTS}
    arguments |= {"evaluate": difference(INPUTS)} | changed
    with pytest.raises(kind, match=message):
        netslim.sensitivity(**arguments)
    with pytest.raises(ConfigError, match=r"max_increase = -0\.1"):
        Sensitivity(1.0, (0.5,), (), 1.0).layers(-0.1)
