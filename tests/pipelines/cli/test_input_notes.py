"""What KFP's page shows of the inputs: each has a description, and a list where the values are few."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from netslim import data
from netslim.pruning.options import option_table
from netslim.training import presets
from netslim_kfp.pipelines.cli.input_notes import input_notes
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build
from netslim_kfp.pipelines.sweeps.pipeline import lambda_inputs, percent_inputs


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_pipeline(build(1), tmp_path_factory.mktemp("ir") / "ir.yaml", notes=input_notes())


def test_every_input_of_every_pipeline_has_a_note(ir: dict[str, Any]) -> None:
    inputs = {*ir["root"]["inputDefinitions"]["parameters"], *lambda_inputs(), *percent_inputs()}
    assert inputs <= set(input_notes())
    for name, definition in ir["root"]["inputDefinitions"]["parameters"].items():
        assert definition["description"] == input_notes()[name].description


def test_the_choices_are_those_that_the_steps_accept() -> None:
    notes = input_notes()
    assert set(notes["dataset"].choices) == set(data.names())
    assert set(notes["preset"].choices) == set(presets.names())
    assert notes["scope"].choices == ("global", "layer")
    assert "scope" in option_table()


def test_the_default_of_an_input_is_one_of_its_choices(ir: dict[str, Any]) -> None:
    with_choices = {
        name: definition
        for name, definition in ir["root"]["inputDefinitions"]["parameters"].items()
        if "literals" in definition
    }
    assert set(with_choices) == {"dataset", "preset", "scope", "policy"}
    for definition in with_choices.values():
        assert definition["defaultValue"] in definition["literals"]


def test_kfp_2_17_knows_the_fields(ir: dict[str, Any]) -> None:
    spec = json_format.ParseDict(ir, pipeline_spec_pb2.PipelineSpec())
    scope = spec.root.input_definitions.parameters["scope"]
    assert [value.string_value for value in scope.literals] == ["global", "layer"]
    assert scope.description
