"""A plan read from a file is applied exactly, and a malformed plan is refused with the reason."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netslim
from netslim.errors import ModelError
from netslim.pruning.plan import ChannelIndex, LayerEdit, OutputPlacement, Plan
from tests.helpers.networks import Chain, Dense, PostActivation
from tests.helpers.proof import outputs, relative, settled

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def chain() -> tuple[nn.Module, netslim.PruneResult]:
    torch.manual_seed(0)
    model = settled(Chain(), IMAGES)
    return model, netslim.prune(model, IMAGES, percent=0.5)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "1 x 1": lambda: nn.Conv2d(640, 200, 1),
    "3 x 3": lambda: nn.Conv2d(96, 200, 3),  # more rows than are sliced at once
    "3d": lambda: nn.Conv3d(20, 30, 3),
    "linear": lambda: nn.Linear(640, 200),
    "transposed": lambda: nn.ConvTranspose2d(40, 30, 2),
    "grouped": lambda: nn.Conv2d(96, 48, 3, groups=4),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_is_sliced_along_both_axes(name: str, dtype: torch.dtype, layout: Any) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]().to(dtype)
    if layer.weight.dim() == 4:
        layer = layer.to(memory_format=layout)
    turned, groups = isinstance(layer, nn.ConvTranspose2d), getattr(layer, "groups", 1)
    weight = layer.weight.transpose(0, 1) if turned else layer.weight
    out, into = len(weight), weight.shape[1] * groups
    kept = np.arange(0, out, 2), np.sort(np.arange(into).reshape(groups, -1)[:, 1::3].ravel())
    slim = netslim.apply_plan(
        nn.Sequential(layer),
        Plan({"0": LayerEdit(out=ChannelIndex(out, kept[0]), in_=ChannelIndex(into, kept[1]))}),
    )[0]
    rows = []
    for channel in kept[0]:
        group = channel // (out // groups)
        rows.append(
            weight[channel][[i - group * weight.shape[1] for i in kept[1] if i // weight.shape[1] == group]]
        )
    truth = torch.stack(rows)
    found = slim.weight.transpose(0, 1) if turned else slim.weight
    assert found.dtype is dtype
    assert torch.equal(found, truth)
    if layer.weight.dim() == 4:
        assert slim.weight.is_contiguous(memory_format=layout)


def test_plans_in_the_wrong_order_are_refused(chain: tuple[nn.Module, netslim.PruneResult]) -> None:
    plan = chain[1].plan
    with pytest.raises(ModelError, match="the second plan is for 8 channels, the first leaves"):
        plan.then(plan)


@pytest.mark.parametrize("other", [Dense, PostActivation])
def test_a_plan_for_another_network_is_refused(
    chain: tuple[nn.Module, netslim.PruneResult], other: Callable[[], nn.Module]
) -> None:
    model = other()
    with pytest.raises(ModelError, match=r"^[a-z0-9.]+: "):
        netslim.apply_plan(model, chain[1].plan)


def test_a_plan_for_other_widths_is_refused(chain: tuple[nn.Module, netslim.PruneResult]) -> None:
    wider = Chain()
    wider.b[0], wider.b[1] = nn.Conv2d(8, 11, 3), nn.BatchNorm2d(11)
    with pytest.raises(ModelError, match=r"b\.1: the network has 11 outputs, the plan is for 10"):
        netslim.apply_plan(wider, chain[1].plan)


Damage = Callable[[dict[str, Any]], None]


def at(*path: str, value: Any) -> Damage:
    def spoil(data: dict[str, Any]) -> None:
        for name in path[:-1]:
            data = data[name]
        data[path[-1]] = value

    return spoil


DAMAGES: dict[str, tuple[Damage, str]] = {
    "another format": (at("format", value="netslim.plan/9"), "its format is 'netslim.plan/9'"),
    "no layers": (lambda data: data.pop("layers"), "lacks 'layers'"),
    "layers are a list": (at("layers", value=[]), "cannot be read"),
    "a layer is a number": (at("layers", "b.1", value=7), "cannot be read"),
    "an unknown key": (at("layers", "b.1", "drop", value=True), "b.1: unknown: drop"),
    "negative": (at("layers", "b.1", "out", "keep", value="-1 2"), "'-1 2' is not a list of channels"),
    "beyond the width": (at("layers", "b.1", "out", "keep", value="0 10"), "10 is not within 0 to 9"),
    "backwards": (at("layers", "b.1", "out", "keep", value="5-2"), "5-2 is not within"),
    "twice": (
        at("layers", "b.1", "out", "keep", value="0-3 3"),
        "does not name each channel once, in ascending order",
    ),
    "out of order": (
        at("layers", "b.1", "out", "keep", value="4-7 2"),
        "does not name each channel once, in ascending order",
    ),
    "none": (at("layers", "b.1", "out", "keep", value=""), "keeps no channel"),
    "a list": (at("layers", "b.1", "out", "keep", value=[0, 1]), r"\[0, 1\] is not a list of channels"),
    "other digits": (at("layers", "b.1", "out", "keep", value="٣"), "is not a list of channels"),
    "width as text": (at("layers", "b.1", "out", "of", value="10"), "'10' is not a number of channels"),
    "width is true": (at("layers", "b.1", "out", "of", value=True), "True is not a number of channels"),
    "a width to fill the memory": (
        at("layers", "b.1", "out", "of", value=10**12),
        "not a number of channels",
    ),
    "reads to fill the memory": (at("layers", "b.1", "reads", value="0-99999999999"), "is not within"),
    "a flag that is text": (at("layers", "b.1", "norm", value="yes"), "norm is 'yes'"),
    "places outside": (
        at("layers", "b.1", "places", value={"width": 4, "channels": "0-7", "fill": False}),
        "0-7 is not within 0 to 3",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_plan_is_refused_with_its_reason(
    name: str, chain: tuple[nn.Module, netslim.PruneResult]
) -> None:
    damage, reason = DAMAGES[name]
    data = copy.deepcopy(chain[1].plan.to_json())
    damage(data)
    with pytest.raises(ModelError, match=f"^plan: .*{reason}"):
        Plan.from_json(data)


def test_a_plan_reads_back_as_it_was(chain: tuple[nn.Module, netslim.PruneResult]) -> None:
    model, result = chain
    again = Plan.from_json(json.loads(json.dumps(result.plan.to_json())))
    assert again == result.plan
    assert again.digest == result.plan.digest
    assert again.digest != Plan.empty().digest
    slim = netslim.apply_plan(model, again)
    slim.load_state_dict(result.model.state_dict())
    assert relative(outputs(slim, IMAGES), outputs(result.model, IMAGES)) == 0


WRITTEN_BY_0_1_0 = """{"format": "netslim plan 1", "layers": {
    "conv1": {"out": {"of": 64, "keep": "0-3 7 9-12"}},
    "conv2": {"in": {"of": 64, "keep": "0-3 7 9-12"}, "bias": true},
    "bn2": {"out": {"of": 8, "keep": "0 2-5"}, "norm": true, "reads": "0 2-5",
            "places": {"width": 8, "channels": "0 2-5", "fill": true}}}}"""


def test_a_plan_of_version_0_1_0_is_read() -> None:
    kept = (0, 1, 2, 3, 7, 9, 10, 11, 12)
    index, five = ChannelIndex(64, np.array(kept)), (0, 2, 3, 4, 5)
    norm = LayerEdit(
        out=ChannelIndex(8, np.array(five)),
        norm=True,
        reads=five,
        places=OutputPlacement(8, five, constants=True),
    )
    plan = Plan.from_json(json.loads(WRITTEN_BY_0_1_0))
    assert plan == Plan(
        {"conv1": LayerEdit(out=index), "conv2": LayerEdit(in_=index, bias=True), "bn2": norm}
    )
    assert plan.to_json() == {**json.loads(WRITTEN_BY_0_1_0), "format": "netslim.plan/1"}
