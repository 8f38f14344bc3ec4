"""A rule for a module as a whole: it is followed as the rule computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

import netslim
from tests.helpers import own_operations as own
from tests.helpers.proof import settled, widths
from tests.helpers.user_code import IMAGES, Net, head, prove_user_code

pytestmark = pytest.mark.usefixtures("no_rules")


class Subclass(own.Block):
    """Has the `forward` of its base class."""


BLOCKS: dict[str, tuple[type[own.Block], Callable[[Any, Tensor], Any]]] = {
    "a block": (own.Block, lambda n, x: head(n, n.own(n.features(x)))),
    "its forward": (own.Block, lambda n, x: head(n, n.own.forward(n.features(x)))),
    "a subclass": (Subclass, lambda n, x: head(n, n.own(n.features(x)))),
    "in a residual stream": (own.Block, lambda n, x: head(n, n.features(x) + n.own(n.features(x)))),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_module_is_followed_as_its_rule_says(name: str) -> None:
    """Under "select", too: a BatchNorm whose vectors an extension reads can select no channels."""
    kind, forward = BLOCKS[name]
    netslim.register_rule(own.Block, own.like_block)
    for result in prove_user_code(lambda: Net(forward, own=kind())).values():
        assert widths(result.model)["out"][1] < 12
        block = result.model.get_submodule("own")
        assert type(block) is kind
        assert "forward" not in vars(block)


class Bare(nn.Module):
    """An extension reads the weight of a layer without a bias, and there is no BatchNorm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 12, 1, bias=False)

    def forward(self, x: Tensor) -> Any:
        return own.mix(x, self.conv.weight[:, :, 0, 0]).clamp(min=0)


def test_a_layer_that_only_a_rule_calls_gets_no_bias() -> None:
    """The extension would not read it. So the constants are lost, and the report says so."""
    netslim.register_rule(Bare, lambda module, x: F.relu(module.conv(x)))
    model = settled(Net(lambda n, x: head(n, n.own(n.features(x))), own=Bare()), IMAGES)
    result = netslim.prune(model, IMAGES, verify=True)
    assert widths(result.model)["own.conv"][1] < 12
    assert result.model.get_submodule("own.conv").bias is None
    assert any(note.endswith("no bias that only this layer has: own.conv") for note in result.report.notes)


class Doubled(own.Block):
    """Has a `forward` of its own, for which there is no rule."""

    def forward(self, x: Tensor) -> Any:
        return 2 * F.relu(self.norm(self.conv(x)))


def test_a_module_with_a_forward_of_its_own_has_no_rule() -> None:
    netslim.register_rule(own.Block, lambda block, x: pytest.fail("this module has no rule"))
    replaced = own.Block()
    replaced.forward = lambda x: 2 * x  # type: ignore[method-assign, assignment]
    for block in (Doubled(), replaced):
        prove_user_code(
            lambda: Net(lambda n, x: head(n, n.own(n.features(x))), own=block),  # noqa: B023
            policies=("auto",),
        )
