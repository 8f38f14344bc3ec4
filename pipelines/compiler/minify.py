"""Shorten a compiled pipeline, because a cluster stores each step several times.

The definition and the command of a step are stored four to six times in the one object that describes a run,
and the size of that object is limited (netslim_kfp.pipelines.compiler.size_estimate). Four things are left
out: the descriptions of the steps' inputs, which are in the READMEs; the defaults of inputs that are always
given; CPU and memory in the fields of KFP before 2.10; and the source of the steps, because the step's image
contains the function (netslim_kfp.components.step). The cache distinguishes versions by the tag of the image.
"""

from __future__ import annotations

from typing import Any

__all__ = ["minify"]

OLD_AMOUNTS = ("cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest")  # kfp writes each amount twice
START = """d=$(mktemp -d)
printf %s "$0" > $d/step.py
export _KFP_RUNTIME=true
exec python3 -m kfp.dsl.executor_main --component_module_path $d/step.py "$@"
"""
"""The shell becomes the step's process, so signals for the one reach the other."""

MODULE = """import os, shutil
shutil.rmtree(os.path.dirname(__file__))
from netslim_kfp.components.{name}.component import {name}"""
"""KFP's executor reads the function from a file. Once it is read, its folder is removed."""


def minify(ir: dict[str, Any]) -> None:
    """Shorten every step of `ir`, in place, without changing what it does."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            _trim_inputs(ir["components"][task["componentRef"]["name"]], task.get("inputs", {}))
    for executor in ir["deploymentSpec"]["executors"].values():
        container = executor["container"]
        for amount in OLD_AMOUNTS:  # the backend reads the new fields where they are there
            container.get("resources", {}).pop(amount, None)
        name = container["args"][-1]
        container["command"] = [
            "sh",
            "-ec",
            START,
            MODULE.format(name=name),
        ]


def _trim_inputs(component: dict[str, Any], given: dict[str, Any]) -> None:
    # The compiler makes one component for each task, so an input that the task gives is always given.
    for definitions in ("inputDefinitions", "outputDefinitions"):
        for kind, named in component.get(definitions, {}).items():
            for name, definition in named.items():
                definition.pop("description", None)
                if definitions == "inputDefinitions" and name in given.get(kind, {}):
                    definition.pop("defaultValue", None)
                    definition.pop("isOptional", None)
