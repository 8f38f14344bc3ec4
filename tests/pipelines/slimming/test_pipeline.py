"""The last pass that is compiled decides to stop, also when more passes are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build


def passes_of_evaluations(ir: dict[str, Any]) -> dict[int, Any]:
    """By pass, the input `passes` of its `evaluate`: a number, or None where the run's own value is taken."""
    found: dict[int, Any] = {}
    for group in ir["components"].values():
        for task in group.get("dag", {}).get("tasks", {}).values():
            inputs = task.get("inputs", {}).get("parameters", {})
            if "max_loss" in inputs and "pass_index" in inputs:
                index = int(inputs["pass_index"]["runtimeValue"]["constant"])
                found[index] = inputs["passes"].get("runtimeValue", {}).get("constant")
    return found


@pytest.mark.parametrize("compiled", [1, 3])
def test_the_last_pass_has_the_number_of_compiled_passes(compiled: int, tmp_path: Path) -> None:
    found = passes_of_evaluations(compile_pipeline(build(compiled), tmp_path / "ir.yaml"))
    assert found == {**dict.fromkeys(range(compiled)), compiled: compiled}
