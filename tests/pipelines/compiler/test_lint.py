"""Every portability rule finds its breach, and our own pipelines have none."""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from kfp import compiler, dsl

from netslim_kfp.pipelines.compiler.compile import compile_pipeline
from netslim_kfp.pipelines.compiler.lint import ARGV_LIMIT, RULES, lint
from netslim_kfp.pipelines.slimming.pipeline import MAX_PASSES, build
from netslim_kfp.pipelines.sweeps import pipeline

OURS = {
    **{f"slimming-{passes}": build(passes) for passes in (1, 3, MAX_PASSES)},
    "slimming-without-baseline": build(2, baseline=False),
    "sweep-lambda": pipeline.build_lambda(),
    "sweep-percent": pipeline.build_percent(),
}


@pytest.mark.parametrize("name", OURS)
def test_our_pipelines_keep_every_rule(name: str, tmp_path: Path) -> None:
    assert lint(compile_pipeline(OURS[name], tmp_path / "ir.yaml")) == []


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compile_pipeline(build(3), tmp_path_factory.mktemp("ir") / "ir.yaml")


def executor(ir: dict[str, Any], name: str) -> dict[str, Any]:
    return ir["deploymentSpec"]["executors"][f"exec-{name}"]["container"]


def tasks(ir: dict[str, Any]) -> dict[str, Any]:
    return ir["components"]["comp-exit-handler-1"]["dag"]["tasks"]


def condition(ir: dict[str, Any], text: str) -> None:
    tasks(ir)["condition-2"]["triggerPolicy"]["condition"] = text


def loop_in_condition_2(ir: dict[str, Any], item: str, passed_as: str) -> None:
    """Makes a loop of condition-3, whose items it passes as `item` to the one step that reads this input."""
    ir["components"]["comp-condition-2"]["dag"]["tasks"]["condition-3"]["parameterIterator"] = {
        "itemInput": item
    }
    inputs = ir["components"]["comp-condition-3"]["inputDefinitions"]["parameters"]
    inputs[item]["parameterType"] = passed_as


BREACHES = {
    "conditions on one unnamed bool": [
        lambda ir: condition(ir, "inputs.parameter_values['pipelinechannel--evaluate-go_on'] == true"),
        lambda ir: condition(ir, "inputs.parameter_values['pipelinechannel--evaluate-2-Output'] == 'yes'"),
        lambda ir: condition(ir, "inputs.parameter_values['pipelinechannel--evaluate-2-Output'] > 3"),
    ],
    "sub dags have a parameter": [
        lambda ir: ir["components"]["comp-condition-2"].__setitem__(
            "inputDefinitions", {"artifacts": {"a": {}}}
        ),
    ],
    "every input has a value": [
        lambda ir: ir["root"]["inputDefinitions"]["parameters"].__setitem__(
            "new", {"parameterType": "STRING", "isOptional": True}
        ),
        lambda ir: ir["components"]["comp-prune"]["inputDefinitions"]["parameters"].__setitem__(
            "new", {"parameterType": "NUMBER_INTEGER", "isOptional": True}
        ),
    ],
    "no pipeline artifact inputs": [
        lambda ir: ir["root"]["inputDefinitions"].__setitem__("artifacts", {"model": {}}),
    ],
    "no artifact one of": [
        lambda ir: ir["components"]["comp-condition-2"]["dag"].__setitem__(
            "outputs", {"artifacts": {"model": {"artifactSelectors": [{}, {}]}}}
        ),
    ],
    "loops over plain lists": [
        lambda ir: tasks(ir)["prune"].__setitem__("artifactIterator", {}),
        lambda ir: tasks(ir)["prune"].__setitem__(
            "parameterIterator", {"items": {"inputParameter": "make-list-values"}}
        ),
    ],
    "loop items are text": [
        lambda ir: loop_in_condition_2(ir, "pipelinechannel--sparse", "STRING"),
        lambda ir: loop_in_condition_2(ir, "pipelinechannel--sparse", "STRUCT"),
        lambda ir: loop_in_condition_2(ir, "pipelinechannel--max_layer_percent", "STRING"),
    ],
    "nothing installed at step start": [
        lambda ir: executor(ir, "prune")["command"].insert(0, "python3 -m pip install torch"),
    ],
    "lightweight components only": [
        lambda ir: executor(ir, "prune").__setitem__("command", ["python", "prune.py"]),
    ],
    "images are fixed": [
        lambda ir: executor(ir, "prune").__setitem__("image", "{{$.inputs.parameters['image']}}"),
        lambda ir: executor(ir, "prune").__setitem__("image", "registry.example:5000/netslim-train"),
        lambda ir: executor(ir, "prune").__setitem__("image", "netslim-train:latest"),
    ],
    "no run identity in cached parameters": [
        lambda ir: tasks(ir)["prune"]["inputs"]["parameters"].__setitem__(
            "key", {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
        ),
    ],
    "deciding steps are uncached": [
        lambda ir: tasks(ir)["evaluate"].__setitem__("cachingOptions", {"enableCache": True}),
        lambda ir: tasks(ir)["prune"].__setitem__("cachingOptions", {}),
    ],
    "no workspace": [lambda ir: ir.__setitem__("platforms", {"kubernetes": {"workspace": {}}})],
    "argv is small": [lambda ir: executor(ir, "prune")["command"].append("x" * (ARGV_LIMIT // 2))],
}


def test_every_rule_has_a_breach_here() -> None:
    assert set(BREACHES) == set(RULES)


@pytest.mark.parametrize(
    ("rule", "breach"), [(rule, breach) for rule, breaches in BREACHES.items() for breach in breaches]
)
def test_a_breach_is_found_by_its_rule_alone(clean: dict[str, Any], rule: str, breach: Any) -> None:
    ir = copy.deepcopy(clean)
    breach(ir)
    found = lint(ir)
    assert len(found) == 1
    assert found[0].startswith(f"{rule}: ")


def test_a_real_named_output_is_caught_where_kfp_would_be_silent(tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def decide() -> NamedTuple("Out", [("go_on", bool)]):  # type: ignore[misc]
        return (True,)  # type: ignore[return-value]

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def work(x: int = 1):
        print(x)

    @dsl.pipeline
    def broken():
        decided = decide()
        with dsl.If(decided.outputs["go_on"] == True):  # noqa: E712
            work()

    compiler.Compiler().compile(broken, str(tmp_path / "broken.yaml"))
    found = lint(yaml.safe_load((tmp_path / "broken.yaml").read_text()))
    assert any("conditions on one unnamed bool" in breach for breach in found)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def consume(text: str = "", number: float = 0.0, recipe: dict = {}, values: list = []) -> None:  # noqa: B006
    print(text, number, recipe, values)


@dsl.pipeline
def loops(texts: list, numbers: list[float], dicts: list, lists: list) -> None:
    with dsl.ParallelFor(texts) as text:
        consume(text=text)
    with dsl.ParallelFor(numbers) as number:
        consume(number=number)
    with dsl.ParallelFor(dicts) as point:  # as sweep-lambda once had it: "expect STRUCT, got string"
        consume(recipe=point, number=point.lam)
    with dsl.ParallelFor(lists) as each, dsl.If(each != "", name="nested"):
        consume(values=each)
    with dsl.ParallelFor(texts) as untyped:
        consume(number=untyped)


def test_a_loop_hands_over_text_or_numbers_of_a_known_type_or_one_field(tmp_path: Path) -> None:
    compiler.Compiler().compile(loops, str(tmp_path / "loops.yaml"))
    found = lint(yaml.safe_load((tmp_path / "loops.yaml").read_text()))
    rule = "loop items are text: "
    assert {breach.removeprefix(rule) for breach in found if breach.startswith(rule)} == {
        "consume-3 takes a loop's item as recipe, a STRUCT; make it a STRING",
        "consume-4 takes a loop's item as values, a LIST; make it a STRING",
        "consume-5 takes a loop's item as number, a NUMBER_DOUBLE; make it a STRING",
    }
