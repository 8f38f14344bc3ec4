"""A run must fit into the one object that it is on a cluster, and a step's arguments into a command line."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import load
from netslim_kfp.pipelines.compiler import size_estimate as estimate
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.compiler.lint import ARGV_LIMIT
from netslim_kfp.pipelines.compiler.size_estimate import LIMIT, estimate_size, packed_size
from netslim_kfp.pipelines.slimming.pipeline import MAX_PASSES, build

DATA = Path(__file__).parents[2] / "data/kfp-2.17"


def documents(folder: Path, passes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / "ir.yaml"
    compile_pipeline(build(passes, place=placed_on(load())), path)
    ir, platform = yaml.safe_load_all(path.read_text())
    return ir, platform


@pytest.fixture(scope="module")
def longest(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both documents of the pipeline with the most passes."""
    return documents(tmp_path_factory.mktemp("ir"), MAX_PASSES)


def test_the_longest_pipeline_fits_once_argo_has_packed_it(
    longest: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    assert packed_size(estimate_size(*longest)) < LIMIT


def test_the_estimate_is_near_what_a_real_backend_stored() -> None:
    """A live Workflow of two passes, five of whose steps came from the cache, and the pipeline within it.

    Another run of two passes, with a retry, had 877 kB.
    """
    seen = json.loads((DATA / "two-passes.json").read_text())
    found = estimate_size(seen["ir"], seen["platform"], cached=seen["cached"])
    assert found == pytest.approx(seen["bytes"], rel=0.05)
    assert estimate_size(seen["ir"], seen["platform"]) == pytest.approx(877_000, rel=0.05)


def test_argo_packed_what_it_packed() -> None:
    assert packed_size(953_000) == pytest.approx(278_000, rel=0.05)


def test_no_argument_of_a_step_comes_near_the_limit(longest: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ir, platform = longest
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    seen = 0
    for _, task, component in estimate._tasks(ir):
        if "executorLabel" in component:
            label = component["executorLabel"]
            container = ir["deploymentSpec"]["executors"][label]["container"]
            main = estimate._pod(component, task, container, settings[label])["containers"][0]
            seen = max(seen, *(len(part.encode()) for part in [*main["command"], *main["args"]]))
    assert 1000 < seen < ARGV_LIMIT / 16


def test_being_lean_is_worth_it_and_changes_no_structure(tmp_path: Path) -> None:
    compiler.Compiler().compile(build(2, place=placed_on(load())), str(tmp_path / "fat.yaml"))
    fat = list(yaml.safe_load_all((tmp_path / "fat.yaml").read_text()))
    lean = documents(tmp_path, 2)
    assert estimate_size(*lean) < 0.9 * estimate_size(*fat)
    assert json.dumps(lean[0]["root"]) == json.dumps(fat[0]["root"])
    for label, executor in lean[0]["deploymentSpec"]["executors"].items():
        theirs = fat[0]["deploymentSpec"]["executors"][label]
        del executor["container"]["command"], theirs["container"]["command"]
        amounts = theirs["container"]["resources"]
        theirs["container"]["resources"] = {
            name: value
            for name, value in amounts.items()
            if name.startswith("resource") or name == "accelerator"
        }
        assert executor == theirs


def test_a_step_s_process_finds_the_function_that_the_compiler_saw(tmp_path: Path) -> None:
    """The compiler's own output carries the source; ours names the function. Both must say the same."""
    compiler.Compiler().compile(build(1), str(tmp_path / "fat.yaml"))
    fat = yaml.safe_load((tmp_path / "fat.yaml").read_text())["deploymentSpec"]["executors"]
    lean = compile_pipeline(build(1), tmp_path / "lean.yaml")["deploymentSpec"]["executors"]
    told = "\n".join(executor["container"]["command"][-1].splitlines()[-1] for executor in lean.values())
    names = sorted({executor["container"]["args"][-1] for executor in lean.values()})
    script = f"{told}\nimport inspect\nfor f in {', '.join(names)}: print(inspect.getsource(f))"
    environment = {**os.environ, "_KFP_RUNTIME": "true"}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    sources = {executor["container"]["command"][-1] for executor in fat.values()}
    assert functions(found.stdout) == functions("\n".join(sources))
    assert sorted(functions(found.stdout)) == names


def functions(source: str) -> dict[str, str]:
    """The functions in a text by name, without their decorators."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list = []
            found[node.name] = ast.dump(node)
    return found
