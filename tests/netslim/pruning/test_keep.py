"""Layers that are named in `keep` lose no channel, whatever the policy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netslim
from netslim.errors import ConfigError
from netslim.pruning.options import Policy
from tests.helpers.networks import NETWORKS, PreActivation
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


def test_a_pattern_without_a_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"keep = stme: no layer has such a name. Did you mean stem\?"):
        netslim.prune(PreActivation(raw=True), IMAGES.float(), keep=["stme"])
