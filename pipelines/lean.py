"""Leaves out of a compiled pipeline what only its reader needs, because a cluster stores each step often.

A step's definition and source end up four to six times in the one object that is the run, and that object has
a limit (pipelines.footprint). What goes: descriptions of the steps' inputs, which the READMEs keep, and the
pipeline's own inputs too; docstrings; and defaults of inputs that are always given.
"""

from __future__ import annotations

import ast
from typing import Any

__all__ = ["make_lean"]


def make_lean(ir: dict[str, Any]) -> None:
    """Shorten every step of `ir`, in place, without changing what it does."""
    for group in (ir["root"], *ir["components"].values()):
        for task in group.get("dag", {}).get("tasks", {}).values():
            _trim_inputs(ir["components"][task["componentRef"]["name"]], task.get("inputs", {}))
    for executor in ir["deploymentSpec"]["executors"].values():
        command = executor.get("container", {}).get("command", [])
        if any("kfp.dsl.executor_main" in part for part in command):
            command[-1] = _without_docstrings(command[-1])


def _trim_inputs(component: dict[str, Any], given: dict[str, Any]) -> None:
    # The compiler gives each task a component of its own, so what this task gives is always given.
    for definitions in ("inputDefinitions", "outputDefinitions"):
        for kind, named in component.get(definitions, {}).items():
            for name, definition in named.items():
                definition.pop("description", None)
                if definitions == "inputDefinitions" and name in given.get(kind, {}):
                    definition.pop("defaultValue", None)
                    definition.pop("isOptional", None)


def _without_docstrings(source: str) -> str:
    module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return f"\n{ast.unparse(module)}\n"
