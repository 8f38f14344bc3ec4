"""A wrong rule, and an error in one, are named by the operation and the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

import netslim
from netslim.errors import ModelError
from tests.helpers import own_operations as own
from tests.helpers.own_operations import curve, numpy_relu
from tests.helpers.proof import settled, widths
from tests.helpers.user_code import IMAGES, Net, head

pytestmark = pytest.mark.usefixtures("no_rules")


def test_the_reason_names_the_line_of_the_rule() -> None:
    netslim.register_rule(own.rank, lambda x: x.sort(1)[0])
    result = netslim.prune(settled(Net(lambda n, x: head(n, own.rank(n.features(x)))), IMAGES), IMAGES)
    assert widths(result.model)["out"][1] == 12
    assert "sort at test_own_rule_errors.py:" in str(result.report)


ERRORS: dict[str, Callable[[Any, Tensor], Any]] = {
    r"tests_2.curve: .*at test_own_rule_errors.py:\d+ fails \(TypeError: .*'by'": lambda n, x: curve(
        x, by=1.0
    ),
    r"Block: .*at test_own_rule_errors.py:\d+ fails \(AttributeError: .*no_such_layer": lambda n, x: n.own(x),
    r"without data: __float__ at test_own_rule_errors.py:\d+": lambda n, x: numpy_relu(x, 0.0),
}


@pytest.mark.parametrize("message", ERRORS)
def test_an_error_in_a_rule_names_the_operation_and_the_line(message: str) -> None:
    netslim.register_rule(curve, lambda x: x)
    netslim.register_rule(own.Block, lambda block, x: block.no_such_layer(x))
    netslim.register_rule(own.NumpyRelu, lambda x, least: x.clamp(float(x.max())))
    model = Net(lambda n, x: head(n, ERRORS[message](n, n.features(x))), own=own.Block()).double()
    before = [dict(vars(module)) for module in model.modules()]
    for run in (netslim.prune, netslim.preview, netslim.count):
        if run is netslim.count and "__float__" in message:
            assert netslim.count(model, IMAGES).params  # it can run with data
            continue
        with pytest.raises(ModelError, match=message):
            run(model, IMAGES)  # type: ignore[operator]
    assert [vars(module).keys() for module in model.modules()] == [own.keys() for own in before]
