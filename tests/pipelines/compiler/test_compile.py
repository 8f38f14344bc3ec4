"""From a pipeline function to the file that every runner and backend reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import load
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.slimming.pipeline import build


def caching(ir: dict[str, Any]) -> list[Any]:
    return [
        task.get("cachingOptions", {}).get("enableCache", False)
        for component in (ir["root"], *ir["components"].values())
        for task in component.get("dag", {}).get("tasks", {}).values()
    ]


def test_compiling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        compile_pipeline(build(2), tmp_path / f"{name}.yaml")
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()


def test_pyyaml_in_c_and_in_python_write_the_same_file(tmp_path: Path) -> None:
    """Two machines, one of which has a PyYAML without C, compile the same pipeline."""
    compile_pipeline(build(2, place=placed_on(load())), tmp_path / "ir.yaml")
    text = (tmp_path / "ir.yaml").read_text()
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert yaml.safe_dump_all(yaml.safe_load_all(text)) == body


def test_the_file_holds_the_ir_and_the_inputs_for_a_reader(tmp_path: Path) -> None:
    ir = compile_pipeline(build(1), tmp_path / "ir.yaml")
    text = (tmp_path / "ir.yaml").read_text()
    assert list(yaml.safe_load_all(text)) == [ir]
    assert "# Name: network-slimming\n" in text
    assert "#    passes: int [Default: 3.0]\n" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ir.yaml"]


def test_a_cluster_s_settings_are_the_second_document(tmp_path: Path) -> None:
    compile_pipeline(build(1, place=placed_on(load())), tmp_path / "ir.yaml")
    _, platform = yaml.safe_load_all((tmp_path / "ir.yaml").read_text())
    assert set(platform) == {"platforms"}


def test_without_the_cache_no_step_takes_an_earlier_result(tmp_path: Path) -> None:
    assert any(caching(compile_pipeline(build(1), tmp_path / "ir.yaml")))
    assert not any(caching(compile_pipeline(build(1), tmp_path / "ir.yaml", cache=False)))
    assert not any(caching(next(yaml.safe_load_all((tmp_path / "ir.yaml").read_text()))))
