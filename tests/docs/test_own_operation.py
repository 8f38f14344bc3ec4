"""The guide's example of an operation of the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import netslim
from netslim.nn.own_rules import OPERATORS
from tests.helpers.proof import gammas_at_zero, outputs, relative, settled, widths
from tests.helpers.user_code import IMAGES, Net, prove_user_code

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


@pytest.fixture
def gem() -> Iterator[Any]:
    """The operation of the example, which registers its rule."""
    section = GUIDE.read_text(encoding="utf-8").partition("## An operation of your own\n")[2]
    code = re.search(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)
    yield names["gem"]
    OPERATORS.clear()


def test_the_example_prunes_through_the_operation(gem: Any) -> None:
    def make() -> Net:
        return Net(lambda n, x: n.out(gem(n.features(x), 3.0)))

    for result in prove_user_code(make).values():
        assert widths(result.model)["out"][1] < 12
        assert not result.report.held_back
    torch.manual_seed(0)
    model = settled(make(), IMAGES)
    result = netslim.prune(model, IMAGES, verify=True)
    assert not result.report.notes
    truth = gammas_at_zero(model, result.plan.kept)
    assert relative(outputs(result.model, IMAGES), outputs(truth, IMAGES)) < 1e-9
