"""The compiled sweeps: one point for each item of the list, with its own percent or strength."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.sweeps.pipeline import build_lambda, build_percent, lambda_inputs, percent_inputs

SWEEPS = {
    "lambda": (build_lambda, lambda_inputs, "strengths"),
    "percent": (build_percent, percent_inputs, "percents"),
}
INPUTS_OF_0_1_0 = {  # of both; scripts that start a run name them
    "model", "model_args", "dataset", "data_root", "download", "validation", "image_size", "dataset_title",
    "preset", "sparse", "tune", "scope", "policy", "max_layer_percent", "channel_multiple", "seed",
    "experiment",
}  # fmt: skip


@pytest.fixture(scope="module", params=SWEEPS)
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """The name of a sweep, and its compiled pipeline."""
    build: Callable[..., Any] = SWEEPS[request.param][0]
    return request.param, compile_pipeline(build(), tmp_path_factory.mktemp("ir") / "ir.yaml")


def loop_of(ir: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The task that iterates, and the tasks of one iteration by name."""
    found = [
        (task, ir["components"][task["componentRef"]["name"]]["dag"]["tasks"])
        for component in ir["components"].values()
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "parameterIterator" in task
    ]
    ((loop, tasks),) = found
    return loop, tasks


def parameter(task: dict[str, Any], name: str) -> Any:
    """The constant of a task's input, or the name of the pipeline input that it reads."""
    source = task["inputs"]["parameters"][name]
    if "runtimeValue" in source:
        return source["runtimeValue"]["constant"]
    return source["componentInputParameter"].removeprefix("pipelinechannel--")


def test_one_point_after_the_other_is_made_of_the_users_list(sweep: tuple[str, Any]) -> None:
    name, ir = sweep
    loop, _ = loop_of(ir)
    assert loop["iteratorPolicy"] == {"parallelismLimit": 1}
    items = loop["parameterIterator"]["items"]["inputParameter"]
    assert items == f"pipelinechannel--{SWEEPS[name][2]}"


def test_what_a_point_does_again_is_what_its_value_changes(sweep: tuple[str, Any]) -> None:
    name, ir = sweep
    _, tasks = loop_of(ir)
    after_training = {"prune", "fine-tune", "export-onnx", "evaluate"}
    made = {re.sub(r"-\d+$", "", task) for task in tasks}
    assert made == after_training | ({"train-sparse"} if name == "lambda" else set())


def test_a_point_is_measured_as_a_point_of_its_sweep(sweep: tuple[str, Any]) -> None:
    name, ir = sweep
    _, tasks = loop_of(ir)
    assert parameter(tasks["evaluate"], "point") == name
    assert parameter(tasks["evaluate"], "passes") == 1
    assert [parameter(tasks["prune"], name) for name in ("keep", "layers")] == ["keep", "layers"]
    item = f"{SWEEPS[name][2]}-loop-item"
    if name == "lambda":
        assert parameter(tasks["train-sparse"], "strength") == item
        assert parameter(tasks["prune"], "percent") == "percent"
        assert parameter(tasks["prune"], "target") == "target"
    else:
        assert parameter(tasks["prune"], "percent") == item
        assert "target" not in tasks["prune"]["inputs"]["parameters"]
    for option in ("min_channels", "max_layer_percent", "channel_multiple", "scope", "policy"):
        assert parameter(tasks["prune"], option) == option


def test_the_inputs_of_0_1_0_are_there_and_the_list_alone_has_no_default(sweep: tuple[str, Any]) -> None:
    name, ir = sweep
    inputs = ir["root"]["inputDefinitions"]["parameters"]
    _, table, items = SWEEPS[name]
    assert set(inputs) == set(table())
    assert set(inputs) >= INPUTS_OF_0_1_0
    assert [name for name, value in inputs.items() if not value.get("isOptional")] == [items]


def test_lambda_is_chosen_on_held_out_images_also_on_a_cluster(tmp_path: Path) -> None:
    ir = compile_pipeline(build_lambda(), tmp_path / "ir.yaml")
    assert ir["root"]["inputDefinitions"]["parameters"]["validation"]["defaultValue"] == 200
