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
from kfp import compiler, dsl, kubernetes

from netslim_kfp.pipelines.cluster.platform import placed_on
from netslim_kfp.pipelines.cluster.profiles import load
from netslim_kfp.pipelines.compiler import size_estimate as estimate
from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.compiler.lint import ARGV_LIMIT
from netslim_kfp.pipelines.compiler.size_estimate import LIMIT, estimate_size
from netslim_kfp.pipelines.slimming.pipeline import MAX_PASSES, build


def documents(folder: Path, passes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / "ir.yaml"
    compile_pipeline(build(passes, place=placed_on(load())), path)
    ir, platform = yaml.safe_load_all(path.read_text())
    return ir, platform


def test_the_longest_pipeline_stays_below_what_argo_packs(tmp_path: Path) -> None:
    assert estimate_size(*documents(tmp_path, MAX_PASSES)) < LIMIT


def test_no_argument_of_a_step_comes_near_the_limit(tmp_path: Path) -> None:
    ir, platform = documents(tmp_path, MAX_PASSES)
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    seen = 0
    for task, component in estimate._tasks(ir):
        if "executorLabel" in component:
            label = component["executorLabel"]
            container = ir["deploymentSpec"]["executors"][label]["container"]
            main = estimate._pod(component, task, container, settings[label])["containers"][0]
            seen = max(seen, *(len(part.encode()) for part in [*main["command"], *main["args"]]))
    assert 1000 < seen < ARGV_LIMIT / 16


def test_the_estimate_explains_a_run_that_was_measured(tmp_path: Path) -> None:
    """kubeflow/pipelines#13738 measured 1.95 MiB for 56 flat tasks, with everything that it says they had."""

    packages = ["pandas==2.2.2", "numpy==1.26.4", "pyyaml==6.0.1", "requests==2.32.3"]

    @dsl.component(base_image="registry.example/some-team/some-image:1.2.3", packages_to_install=packages)
    def search(
        data: dsl.Input[dsl.Dataset],
        metrics: dsl.Output[dsl.Metrics],
        kind: str = "forest",
        depth: int = 3,
        rate: float = 0.1,
        fold: int = 0,
        seed: int = 0,
    ) -> float:
        import json
        import random

        import pandas

        random.seed(seed)
        frame = pandas.read_csv(data.path)
        score = sum(rate * row["a"] + depth * row["b"] for _, row in frame.iterrows())
        result = {"kind": kind, "score": score, "fold": fold}
        metrics.log_metric("score", score)
        with open(metrics.path, "w") as stream:
            json.dump(result, stream)
        return score

    @dsl.component(base_image="registry.example/some-team/some-image:1.2.3", packages_to_install=packages)
    def read(data: dsl.Output[dsl.Dataset]) -> None:
        with open(data.path, "w") as stream:
            stream.write("a,b\n")

    @dsl.pipeline(name="search")
    def flat() -> None:
        data = read()
        for fold in range(55):
            point = search(data=data.output, fold=fold).set_caching_options(False)
            point.set_cpu_limit("1").set_memory_limit("2Gi").set_retry(2)
            kubernetes.use_secret_as_env(point, "credentials", {"user": "USER", "password": "PASSWORD"})
            kubernetes.add_pod_label(point, "team", "research")
            kubernetes.set_image_pull_secrets(point, ["registry"])

    compiler.Compiler().compile(flat, str(tmp_path / "flat.yaml"))
    found = estimate_size(*yaml.safe_load_all((tmp_path / "flat.yaml").read_text())) / 2**20
    assert found == pytest.approx(1.95, rel=0.2)


def test_being_lean_is_worth_it_and_changes_no_structure(tmp_path: Path) -> None:
    compiler.Compiler().compile(build(2, place=placed_on(load())), str(tmp_path / "fat.yaml"))
    fat = list(yaml.safe_load_all((tmp_path / "fat.yaml").read_text()))
    lean = documents(tmp_path, 2)
    assert estimate_size(*lean) < 0.9 * estimate_size(*fat)
    assert json.dumps(lean[0]["root"]) == json.dumps(fat[0]["root"])
    for label, executor in lean[0]["deploymentSpec"]["executors"].items():
        theirs = fat[0]["deploymentSpec"]["executors"][label]
        del executor["container"]["command"], theirs["container"]["command"]
        assert executor == theirs


def test_a_step_s_process_finds_the_function_that_the_compiler_saw(tmp_path: Path) -> None:
    """The compiler's own output carries the source; ours names the function. Both must say the same."""
    compiler.Compiler().compile(build(1), str(tmp_path / "fat.yaml"))
    fat = yaml.safe_load((tmp_path / "fat.yaml").read_text())["deploymentSpec"]["executors"]
    lean = compile_pipeline(build(1), tmp_path / "lean.yaml")["deploymentSpec"]["executors"]
    told = "\n".join(executor["container"]["command"][-1] for executor in lean.values())
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
