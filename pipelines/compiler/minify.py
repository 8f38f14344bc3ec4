"""Leaves out of a compiled pipeline what only its reader needs, because a cluster stores each step often.

A step's definition and command end up four to six times in the one object that is the run, and that object
has a limit (netslim_kfp.pipelines.compiler.size_estimate). What goes: descriptions of the steps' inputs,
which the READMEs keep, and the pipeline's own inputs too; defaults of inputs that are always given; and
the steps' source, since the same function is in the step's image (netslim_kfp.components.step). The
image's tag stays for the cache to tell versions apart.
"""

from __future__ import annotations

from typing import Any

__all__ = ["minify"]

START = """d=$(mktemp -d)
printf %s "$0" > $d/step.py
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main --component_module_path $d/step.py "$@"
"""


def minify(ir: dict[str, Any]) -> None:
    """Shorten every step of `ir`, in place, without changing what it does."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            _trim_inputs(ir["components"][task["componentRef"]["name"]], task.get("inputs", {}))
    for executor in ir["deploymentSpec"]["executors"].values():
        container = executor["container"]
        name = container["args"][-1]
        container["command"] = [
            "sh",
            "-ec",
            START,
            f"from netslim_kfp.components.{name}.component import {name}",
        ]


def _trim_inputs(component: dict[str, Any], given: dict[str, Any]) -> None:
    # The compiler gives each task a component of its own, so what this task gives is always given.
    for definitions in ("inputDefinitions", "outputDefinitions"):
        for kind, named in component.get(definitions, {}).items():
            for name, definition in named.items():
                definition.pop("description", None)
                if definitions == "inputDefinitions" and name in given.get(kind, {}):
                    definition.pop("defaultValue", None)
                    definition.pop("isOptional", None)
