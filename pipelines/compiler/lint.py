"""Portability rules for compiled pipelines: a pipeline that runs locally must also run on a backend.

KFP's local runners and its backend differ in places, often without an error: a condition on a named output is
always False locally. Each rule below is about one difference that was observed (docs/decisions.md). It is
checked on the compiled IR, so it does not depend on how the Python was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ARGV_LIMIT", "RULES", "lint"]

IR = dict[str, Any]
ARGV_LIMIT = 128 * 1024  # Linux's limit for one element of argv; a component's source is one
UNCACHED = ("evaluate", "finish")


def lint(ir: IR) -> list[str]:
    """The breaches of the portability rules in a compiled pipeline, one sentence each."""
    return [f"{name}: {breach}" for name, rule in RULES.items() for breach in rule(ir)]


def _dags(ir: IR) -> Iterator[tuple[str, IR, IR]]:
    """(component's name, its input definitions, its tasks) for the root and every sub-DAG."""
    for name, component in {"root": ir["root"], **ir["components"]}.items():
        if "dag" in component:
            yield name, component.get("inputDefinitions", {}), component["dag"]["tasks"]


def _tasks(ir: IR) -> Iterator[tuple[str, IR]]:
    for _, _, tasks in _dags(ir):
        yield from tasks.items()


def _executors(ir: IR) -> Iterator[tuple[str, IR]]:
    yield from ir["deploymentSpec"]["executors"].items()


def _type_of(ir: IR, component: str, parameter: str) -> str:
    kind: str = ir["components"][component]["inputDefinitions"]["parameters"][parameter]["parameterType"]
    return kind


def _readers(ir: IR, group: str, parameter: str) -> Iterator[tuple[str, str, str, bool]]:
    """(task, component, input, whether it reads one field) of each task that reads a group's parameter."""
    for name, task in ir["components"][group]["dag"]["tasks"].items():
        for its_input, source in task.get("inputs", {}).get("parameters", {}).items():
            if source.get("componentInputParameter") == parameter:
                is_field = "parameterExpressionSelector" in source
                yield name, task["componentRef"]["name"], its_input, is_field


def _loop_items(ir: IR) -> list[tuple[str, str]]:
    """(group, parameter) of every loop item, also where a group within the loop passes the item on."""
    items = [
        (task["componentRef"]["name"], task["parameterIterator"]["itemInput"])
        for _, task in _tasks(ir)
        if "itemInput" in task.get("parameterIterator", {})
    ]
    for group, item in items:  # the list grows during the loop
        for _, component, parameter, _ in _readers(ir, group, item):
            if "dag" in ir["components"][component]:
                items.append((component, parameter))
    return items


def conditions_on_one_unnamed_bool(ir: IR) -> Iterator[str]:
    for name, task in _tasks(ir):
        condition = task.get("triggerPolicy", {}).get("condition")
        if not condition:
            continue
        read = re.findall(r"inputs\.parameter_values\['([^']+)'\]", condition)
        if len(read) != 1 or not read[0].endswith("-Output"):
            yield f"{name} depends on {condition!r}, which is not one unnamed output of a step"
        elif not re.fullmatch(r"inputs\.parameter_values\['[^']+'\] == true", condition):
            yield f"{name} depends on {condition!r}; only `x.output == True` is evaluated alike everywhere"


def sub_dags_have_a_parameter(ir: IR) -> Iterator[str]:
    for name, inputs, _ in _dags(ir):
        if name != "root" and inputs.get("artifacts") and not inputs.get("parameters"):
            yield f"{name} takes only artifacts, which the local runner cannot resolve"


def every_input_has_a_value(ir: IR) -> Iterator[str]:
    for name, spec in ir["root"].get("inputDefinitions", {}).get("parameters", {}).items():
        if spec.get("isOptional") and spec.get("defaultValue") is None:
            yield f"pipeline input {name} defaults to None"
    for name, component in ir["components"].items():
        if "executorLabel" not in component:
            continue
        for parameter, spec in component.get("inputDefinitions", {}).get("parameters", {}).items():
            numeric = spec["parameterType"] in ("NUMBER_INTEGER", "NUMBER_DOUBLE")
            if numeric and spec.get("isOptional") and "defaultValue" not in spec:
                yield f"{name} has the optional number {parameter} without a default"


def no_pipeline_artifact_inputs(ir: IR) -> Iterator[str]:
    for name in ir["root"].get("inputDefinitions", {}).get("artifacts", {}):
        yield f"pipeline input {name} is an artifact; take a URI and import it"


def no_artifact_one_of(ir: IR) -> Iterator[str]:
    for name, component in {"root": ir["root"], **ir["components"]}.items():
        outputs = component.get("dag", {}).get("outputs", {}).get("artifacts", {})
        for output, spec in outputs.items():
            if len(spec.get("artifactSelectors", [])) > 1:
                yield f"{name} merges artifacts of several branches into {output}"


def loops_over_plain_lists(ir: IR) -> Iterator[str]:
    for name, task in _tasks(ir):
        if "artifactIterator" in task:
            yield f"{name} iterates over artifacts"
        source = task.get("parameterIterator", {}).get("items", {}).get("inputParameter", "")
        if source and not (source.endswith("-Output") or source.startswith("pipelinechannel--")):
            yield f"{name} iterates over the named output {source}"


def loop_items_are_text(ir: IR) -> Iterator[str]:
    for group, item in _loop_items(ir):
        passed_as = _type_of(ir, group, item)
        for name, component, parameter, is_field in _readers(ir, group, item):
            kind = _type_of(ir, component, parameter)
            same = is_field or kind in ("STRING", passed_as)
            if kind in ("STRUCT", "LIST") or not same:
                yield f"{name} takes a loop's item as {parameter}, a {kind}; make it a STRING"


def nothing_installed_at_step_start(ir: IR) -> Iterator[str]:
    for name, executor in _executors(ir):
        container = executor.get("container", {})
        if "pip install" in " ".join([*container.get("command", []), *container.get("args", [])]):
            yield f"{name} installs packages when it starts"


def lightweight_components_only(ir: IR) -> Iterator[str]:
    for name, executor in _executors(ir):
        if "importer" in executor:
            continue
        if not any("kfp.dsl.executor_main" in part for part in executor["container"].get("command", [])):
            yield f"{name} is a container component, which the subprocess runner refuses"


def images_are_fixed(ir: IR) -> Iterator[str]:
    for name, executor in _executors(ir):
        image = executor.get("container", {}).get("image", "")
        if "{{" in image:
            yield f"{name} takes its image from a parameter, which the Docker runner cannot resolve"
        elif image and ("@sha256:" not in image) and (":" not in image.rsplit("/", 1)[-1]):
            yield f"{name} uses {image} without a tag"
        elif image.endswith(":latest"):
            yield f"{name} uses the mutable tag of {image}"


def no_run_identity_in_cached_parameters(ir: IR) -> Iterator[str]:
    for name, task in _tasks(ir):
        if re.sub(r"-\d+$", "", name) in UNCACHED:
            continue
        for parameter, value in task.get("inputs", {}).get("parameters", {}).items():
            constant = str(value.get("runtimeValue", {}).get("constant", ""))
            if "{{$.pipeline_job" in constant or "{{$.pipeline_task" in constant:
                yield f"{name} takes the run's identity as {parameter}, so it would never be cached"


def deciding_steps_are_uncached(ir: IR) -> Iterator[str]:
    for name, task in _tasks(ir):
        if "dag" in ir["components"][task["componentRef"]["name"]]:
            continue
        step = re.sub(r"-\d+$", "", name)
        cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        if cached == (step in UNCACHED):
            yield f"{name} is {'cached' if cached else 'not cached'}"


def no_workspace(ir: IR) -> Iterator[str]:
    if "workspace" in str(ir.get("platforms", "")):
        yield "the pipeline uses a workspace, which the local runner deletes after every run"


def argv_is_small(ir: IR) -> Iterator[str]:
    for name, executor in _executors(ir):
        for part in executor.get("container", {}).get("command", []):
            if len(part.encode()) > ARGV_LIMIT // 4:  # the executor's input shares the line
                yield f"{name} carries {len(part.encode())} bytes of source in one argument"


RULES: dict[str, Callable[[IR], Iterator[str]]] = {
    rule.__name__.replace("_", " "): rule
    for rule in (
        conditions_on_one_unnamed_bool,
        sub_dags_have_a_parameter,
        every_input_has_a_value,
        no_pipeline_artifact_inputs,
        no_artifact_one_of,
        loops_over_plain_lists,
        loop_items_are_text,
        nothing_installed_at_step_start,
        lightweight_components_only,
        images_are_fixed,
        no_run_identity_in_cached_parameters,
        deciding_steps_are_uncached,
        no_workspace,
        argv_is_small,
    )
}
