"""The table of pruning options: one default, one parser and one wording for everything that accepts them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest

from netslim.errors import ConfigError
from netslim.pruning.budget import Target
from netslim.pruning.options import PruningKeywords, PruningOptions, option_table


def test_half_of_the_channels_and_no_cap_is_the_default() -> None:
    options = PruningOptions()
    assert (options.ratio, options.budget, options.max_layer_percent) == (Fraction(1, 2), None, None)


@pytest.mark.parametrize(
    ("percent", "ratio"),
    [
        (0.29, Fraction(29, 100)),  # 0.29 * 100 is 28.999999999999996 in binary
        ("0.29", Fraction(29, 100)),
        (Fraction(1, 3), Fraction(1, 3)),
        (0, Fraction(0)),
        ("1e-2", Fraction(1, 100)),
        ("dead", "dead"),
    ],
)
def test_a_percent_is_parsed_into_an_exact_fraction(percent: Any, ratio: Any) -> None:
    assert PruningOptions(percent=percent).ratio == ratio
    assert PruningOptions(percent=percent).with_keywords(min_channels=2).ratio == ratio


@pytest.mark.parametrize(
    "options",
    [
        PruningOptions(),
        PruningOptions(percent="dead", max_layer_percent=0.5, compensate=False),
        PruningOptions(target="params=400000", policy="select", scope="layer", channel_multiple=8),
        PruningOptions(keep=["b.*", "a"], layers={"z": 0.29, "a.*": 0, "b": 1e-7}),
    ],
)
def test_the_inputs_of_a_pipeline_read_back_as_the_same_options(options: PruningOptions) -> None:
    inputs = options.to_inputs()
    assert [type(inputs[name]) for name in ("percent", "target", "max_layer_percent")] == [str, dict, float]
    as_kfp_passes_them = {**inputs, "min_channels": float(inputs["min_channels"])}
    assert PruningOptions(**json.loads(json.dumps(as_kfp_passes_them))) == options


def test_a_cap_of_one_is_no_cap() -> None:
    assert PruningOptions(max_layer_percent=1).max_layer_percent is None


def test_keywords_change_options() -> None:
    by_target = PruningOptions(target={"flops": 0.5}, min_channels=3)
    assert by_target.budget == Target("flops", 0.5)
    changed = by_target.with_keywords(percent=0.25, policy="group")
    assert changed == PruningOptions(percent=0.25, policy="group", min_channels=3)
    assert by_target.with_keywords(percent=None, target=None) == by_target
    with pytest.raises(
        ConfigError, match=r"percent, target: only one of the two is allowed\. Give a percent"
    ):
        by_target.with_keywords(percent=0.5, target="flops=0.5")


def test_the_table_and_the_keywords_name_every_option() -> None:
    table = option_table()
    assert list(table) == list(PruningKeywords.__annotations__)
    for name, info in table.items():
        assert getattr(PruningOptions(), name) == info.default
        assert info.help.endswith(".")
        assert info.allowed
        for choice in info.choices:
            PruningOptions(**{name: choice})


NO_SHARE = "must be a share from 0 up to, but not including, 1; or the word dead"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percent": 50}, rf"percent = 50: {NO_SHARE}\. Write 0\.5 for 50 %"),
        ({"percent": "70"}, rf"percent = 70: {NO_SHARE}\. Write 0\.7 for 70 %"),
        ({"percent": 1.0}, rf"percent = 1.0: {NO_SHARE}\. Nothing would be left at 1"),
        ({"percent": -0.1}, f"percent = -0.1: {NO_SHARE}"),
        ({"percent": math.nan}, f"percent = nan: {NO_SHARE}"),
        ({"percent": math.inf}, f"percent = inf: {NO_SHARE}"),
        ({"percent": "1e999999999"}, f"percent = 1e999999999: {NO_SHARE}"),
        ({"percent": "half"}, f"percent = half: {NO_SHARE}"),
        ({"percent": True}, f"percent = True: {NO_SHARE}"),
        ({"percent": [0.5]}, rf"percent = \[0.5\]: {NO_SHARE}"),
        ({"target": "latency=0.5"}, "target = latency: unknown measure"),
        ({"scope": "stage"}, r"scope = stage: must be one of global, layer\. The default is global"),
        ({"policy": ["auto"]}, r"policy = \['auto'\]: must be one of auto, group, select"),
        ({"min_channels": 0}, "min_channels = 0: must be a whole number from 1 on"),
        ({"min_channels": 1.5}, "min_channels = 1.5: must be a whole number from 1 on"),
        ({"min_channels": True}, "min_channels = True: must be a whole number"),
        ({"channel_multiple": -8}, "channel_multiple = -8: must be a whole number"),
        ({"channel_multiple": "8"}, "channel_multiple = 8: must be a whole number"),
        ({"max_layer_percent": 0.0}, "max_layer_percent = 0.0: must be a share above 0 and up to 1"),
        ({"max_layer_percent": 50}, "max_layer_percent = 50: must be a share above 0 and up to 1"),
        ({"max_layer_percent": math.nan}, "max_layer_percent = nan: must be a share"),
        ({"compensate": "yes"}, "compensate = yes: must be true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_its_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PruningOptions(**options)


def test_the_command_line_can_read_the_table_without_torch_or_numpy() -> None:
    code = "import sys, netslim.pruning.options; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
