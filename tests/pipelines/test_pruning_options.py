"""The pruning options have one table, `PruningOptions`: everything else that lists them agrees with it."""

from __future__ import annotations

import inspect
import json
from typing import Any

import click
import pytest

from netslim.errors import ConfigError
from netslim.pruning.options import PruningOptions, option_table
from netslim_kfp.components.prune.component import prune
from netslim_kfp.pipelines.cli.run import run
from netslim_kfp.pipelines.run_config import RunConfig
from netslim_kfp.pipelines.slimming.pipeline import build
from netslim_kfp.pipelines.sweeps.pipeline import lambda_inputs, percent_inputs

NOT_AN_OPTION_OF_A_RUN = "compensate"  # of the function and the component: only studies leave it out
NAMES = [name for name in option_table() if name != NOT_AN_OPTION_OF_A_RUN]
INPUTS = PruningOptions().to_inputs()
EDGES: dict[str, list[Any]] = {
    "percent": [0, 0.999, "dead", -0.001, 1, 1.5, "all", True],
    "target": [{"flops": 0.5}, {"params": 1000}, {"flops": 0}, {"flop": 0.5}, {"flops": 0.5, "macs": 0.5}],
    "scope": ["global", "layer", "", "both"],
    "policy": ["auto", "group", "select", "", "both"],
    "max_layer_percent": [None, 0.001, 1, 0, -0.5, 1.001, True],
    "min_channels": [1, 1000, 0, -1, 1.5, True],
    "channel_multiple": [1, 1000, 0, -1, 1.5, True],
    "keep": [[], ["a.*", "b"], ("a",), "a", [""], "", [1], {"a": 0.5}, 7],
    "layers": [
        *({}, {"a": 0}, {"a": 0.3, "*": 0.999}, ["a=0.3"], []),
        *(
            {"a": 1},
            {"a": -0.1},
            {"a": True},
            {"a": None},
            {"": 0.3},
            {1: 0.3},
            "a=0.3",
            ["a"],
            ["a=0", "a=0"],
            7,
        ),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_the_config_has_the_name_the_default_and_the_help(name: str) -> None:
    field, row = RunConfig.model_fields[name], option_table()[name]
    default = field.get_default(call_default_factory=True)
    assert (default or None) == (row.default or None)  # no target is {} in a file
    assert field.description == row.help


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in EDGES for value in EDGES[name]])
def test_the_config_allows_the_same_values(name: str, value: Any) -> None:
    def allowed(kind: Any) -> bool:
        try:
            kind(**{name: value})
        except ConfigError:
            return False
        return True

    assert allowed(RunConfig) == allowed(PruningOptions)


def test_every_option_has_its_edges_above() -> None:
    assert list(EDGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_has_the_name_the_choices_and_the_help(name: str) -> None:
    (option,) = [option for option in run.params if option.name == name]
    assert isinstance(option, click.Option)
    row = option_table()[name]
    assert option.opts == [f"--{name.replace('_', '-')}"]
    assert row.help in (option.help or "")
    assert tuple(getattr(option.type, "choices", ())) == row.choices


def inputs_of(component: Any) -> dict[str, Any]:
    """The default of each input of a KFP component or pipeline."""
    inputs = component.component_spec.inputs
    return {name: value.default for name, value in inputs.items() if not value.type.startswith("system.")}


def test_the_component_has_the_names_and_the_defaults() -> None:
    defaults = inputs_of(prune)
    assert {name: defaults[name] for name in INPUTS} == INPUTS
    assert set(defaults) - set(INPUTS) == {"pass_index", "architecture"}
    assert set(INPUTS) <= set(inspect.signature(prune.python_func).parameters)


def test_the_pipelines_have_the_names_and_the_defaults() -> None:
    wanted = {name: INPUTS[name] for name in NAMES}
    slimming = inputs_of(build(1))
    assert {name: slimming[name] for name in NAMES} == wanted
    assert {name: lambda_inputs()[name] for name in NAMES} == wanted
    without = [name for name in NAMES if name not in ("percent", "target")]
    assert {name: percent_inputs()[name] for name in without} == {name: INPUTS[name] for name in without}


def test_the_inputs_of_a_pipeline_are_read_back_as_the_same_options() -> None:
    layers = {"z.*": 0.3, "a.*": 0.29, "z.0": 0.0}  # the order counts: the last match decides
    config = RunConfig(
        percent=0.7, max_layer_percent=0.5, min_channels=2, scope="layer", keep=("b", "a"), layers=layers
    )
    inputs = json.loads(json.dumps(config.pipeline_arguments()))
    assert PruningOptions(**{name: inputs[name] for name in NAMES}) == config.pruning()
