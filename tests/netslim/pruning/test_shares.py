"""Shares and names of layers as users write them, and as a pipeline passes them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from netslim.errors import ConfigError
from netslim.pruning.options import PruningOptions

SHARE = "a share from 0 up to, but not including, 1"


def test_layers_are_exact_and_in_the_order_in_which_they_are_given() -> None:
    """KFP passes a mapping as a protobuf Struct, which has no order, so a pipeline gets a list."""
    given: dict[str, float | Fraction] = {"b": 0.29, "a.*": Fraction(1, 3), "*": 0}
    options = PruningOptions(layers=given)
    assert options.shares == (("b", Fraction(29, 100)), ("a.*", Fraction(1, 3)), ("*", Fraction(0)))
    assert options.to_inputs()["layers"] == ["b=0.29", f"a.*={1 / 3!r}", "*=0.0"]
    assert PruningOptions(layers=[" b = 0.29 ", "c=.5"]).shares == (
        ("b", Fraction(29, 100)),
        ("c", Fraction(1, 2)),
    )
    assert options != PruningOptions(layers={"a.*": Fraction(1, 3), "b": 0.29, "*": 0})
    given["b"] = 0.5
    assert options.with_keywords(percent=0.1).shares == options.shares, "a later change has no effect"
    assert options.with_keywords(layers={}).shares == PruningOptions().shares == ()
    assert PruningOptions(layers=None).layers is PruningOptions(layers=[]).layers is None


@pytest.mark.parametrize(
    ("keep", "patterns"),
    [("a.*", ("a.*",)), (["b", "a"], ("b", "a")), ((), ()), ({"b", "a"}, ("a", "b")), ([], ())],
)
def test_patterns_of_layers_to_keep(keep: Any, patterns: tuple[str, ...]) -> None:
    assert PruningOptions(keep=keep).keep == patterns
    assert PruningOptions(keep=["c"]).with_keywords(keep=keep).keep == patterns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"keep": [""]},
            r"keep = '': must be names of layers, or patterns of them such as layer4\.\*\. Write",
        ),
        ({"keep": 3}, "keep = 3: must be names of layers"),
        ({"keep": ["a", None]}, "keep = None: must be names of layers"),
        ({"keep": {"a": 0.5}}, r"keep = \{'a': 0\.5\}: must be names of layers"),
        ({"layers": {"a": 1}}, rf"layers = a=1: must be {SHARE}\. Nothing would be left at 1"),
        ({"layers": {"a": 30}}, rf"layers = a=30: must be {SHARE}\. Write 0\.3 for 30 %"),
        ({"layers": {"a": -0.1}}, rf"layers = a=-0\.1: must be {SHARE}\. Write 0\.3 to prune 30 %"),
        ({"layers": {"a": math.nan}}, f"layers = a=nan: must be {SHARE}"),
        ({"layers": {"a": "half"}}, f"layers = a=half: must be {SHARE}"),
        ({"layers": {"a": True}}, f"layers = a=True: must be {SHARE}"),
        ({"layers": {"a": None}}, f"layers = a=None: must be {SHARE}"),
        ({"layers": {"a": "dead"}}, f"layers = a=dead: must be {SHARE}"),
        ({"layers": {"": 0.5}}, rf"layers = =0\.5: must be {SHARE}, by the name of a layer"),
        ({"layers": {1: 0.5}}, rf"layers = 1=0\.5: must be {SHARE}, by the name of a layer"),
        ({"layers": ["a"]}, r"layers = a: not of the form PATTERN=SHARE\. Write backbone\.\*=0\.3"),
        ({"layers": ["=0.5"]}, "layers = =0.5: must be a share"),
        ({"layers": [0.5]}, "layers = 0.5: not of the form PATTERN=SHARE"),
        ({"layers": ["a=0.1", "a=0.2"]}, r"layers = a=0\.2: a is given twice\. Give it once"),
        ({"layers": 0.5}, f"layers = 0.5: must be {SHARE}, by the name"),
        ({"layers": "a=0.5"}, f"layers = 'a=0.5': must be {SHARE}, by the name"),
    ],
)
def test_a_wrong_pattern_or_share_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PruningOptions(**options)
