"""The compiled slimming pipeline: its inputs, and that its last pass decides to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netslim.cli.sensitivity_inputs import DATA, SPARSE
from netslim.errors import ConfigError
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.local.console import step_titles
from netslim_kfp.pipelines.run_config import RunConfig
from netslim_kfp.pipelines.slimming.pipeline import build


def passes_of_evaluations(ir: dict[str, Any]) -> dict[int, Any]:
    """By pass, the input `passes` of its `evaluate`: a number, or None where the run's own value is taken."""
    found: dict[int, Any] = {}
    for group in ir["components"].values():
        for name, task in group.get("dag", {}).get("tasks", {}).items():
            inputs = task.get("inputs", {}).get("parameters", {})
            if name.startswith("evaluate"):
                index = int(inputs["pass_index"]["runtimeValue"]["constant"])
                found[index] = inputs["passes"].get("runtimeValue", {}).get("constant")
    return found


@pytest.mark.parametrize("compiled", [1, 3])
def test_the_last_pass_has_the_number_of_compiled_passes(compiled: int, tmp_path: Path) -> None:
    found = passes_of_evaluations(compile_pipeline(build(compiled), tmp_path / "ir.yaml"))
    assert found == {**dict.fromkeys(range(compiled)), compiled: compiled}


def test_the_inputs_are_those_of_a_run_with_its_defaults(tmp_path: Path) -> None:
    """Their names are those of 0.1.0, `max_loss` included: scripts and schedules give arguments by them."""
    ir = compile_pipeline(build(1), tmp_path / "ir.yaml")
    inputs = ir["root"]["inputDefinitions"]["parameters"]
    assert {name: value["defaultValue"] for name, value in inputs.items()} == RunConfig().pipeline_arguments()
    assert set(inputs) == {
        "model", "model_args", "dataset", "data_root", "download", "validation", "image_size",
        "dataset_title", "preset", "base", "sparse", "tune", "percent", "target", "scope", "policy",
        "max_layer_percent", "min_channels", "channel_multiple", "keep", "layers", "passes", "max_loss",
        "seed", "experiment",
    }  # fmt: skip


@pytest.mark.parametrize("passes", [0, 7])
def test_a_number_of_passes_out_of_range_is_refused(passes: int) -> None:
    with pytest.raises(ConfigError, match=rf"passes = {passes}: out of range\. Use 1 to 6"):
        build(passes)


def test_every_step_that_builds_a_network_gets_the_one_of_the_run(tmp_path: Path) -> None:
    """It says which code may be run, see `netslim.load_model`."""
    ir = compile_pipeline(build(2), tmp_path / "ir.yaml")
    groups = [group.get("dag", {}).get("tasks", {}) for group in ir["components"].values()]
    given = [
        (name, task["inputs"]["parameters"].get("architecture", {}).get("componentInputParameter", ""))
        for tasks in groups
        for name, task in tasks.items()
        if name.startswith(("train-sparse", "prune", "fine-tune", "export-onnx"))
    ]
    assert len(given) == 10  # the baseline's training and export, and four of each pass
    assert [name for name, source in given if not source.endswith("model")] == []


@pytest.mark.parametrize("baseline", [True, False])
def test_the_titles_by_which_netslim_sensitivity_finds_a_run_are_those_of_the_steps(
    baseline: bool, tmp_path: Path
) -> None:
    titles = step_titles(compile_pipeline(build(1, baseline=baseline), tmp_path / "ir.yaml")).values()
    assert {SPARSE, DATA} <= set(titles)
