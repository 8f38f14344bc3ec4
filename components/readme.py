"""Writes each component's README from its signature and docstring, so that all three agree.

Usage: python -m netslim_kfp.components.readme           write them
       python -m netslim_kfp.components.readme --check   fail when one is stale
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import yaml

__all__ = ["NAMES", "render", "stale"]

NAMES = ("prepare_data", "train_sparse", "prune", "fine_tune", "export_onnx", "evaluate", "finish")
HERE = Path(__file__).parent
TYPES = {"Integer": "int", "Float": "float", "String": "str", "Boolean": "bool", "Dict": "dict"}


def render(name: str) -> str:
    """The README of one component."""
    module = importlib.import_module(f"netslim_kfp.components.{name}.component")
    component = getattr(module, name)
    spec = component.component_spec
    metadata = yaml.safe_load((HERE / name / "metadata.yaml").read_text(encoding="utf-8"))
    sentence = (module.__doc__ or "").removeprefix("Step: ").strip()
    caching = "The result is cached." if metadata["cached"] else "Never cached."
    lines = [
        f"# {name}",
        "",
        f"{sentence[0].upper()}{sentence[1:]}",
        "",
        f"{spec.description.strip()} {caching}",
        "",
        "<!-- Written by `make readmes` from component.py and metadata.yaml. -->",
        "",
        "## Inputs",
        "",
        "| name | type | default | description |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{key}` | {type_of(i)} | {default_of(i)} | {i.description} |" for key, i in spec.inputs.items()
    ]
    lines += ["", "## Outputs", "", "| name | type | description |", "| --- | --- | --- |"]
    described = outputs_described(component.python_func.__doc__ or "")
    lines += [
        f"| `{key}` | {type_of(output)} | {described.get(key, '')} |"
        for key, output in (spec.outputs or {}).items()
    ]
    return "\n".join(lines) + "\n"


def type_of(spec: Any) -> str:
    """A parameter's Python type, or an artifact's schema without its version."""
    text = str(spec.type)
    return TYPES.get(text, text.split("@")[0].removeprefix("system."))


def default_of(spec: Any) -> str:
    if not spec.optional:
        return "required"
    return "none" if spec.default is None else f"`{spec.default!r}`"


def outputs_described(docstring: str) -> dict[str, str]:
    """Descriptions by output: artifacts are among the arguments, the returned value is under Returns."""
    from docstring_parser import parse

    parsed = parse(docstring)
    described = {item.arg_name: " ".join((item.description or "").split()) for item in parsed.params}
    if parsed.returns:
        described["Output"] = parsed.returns.description or ""
    return described


def stale() -> list[str]:
    """Names of the components whose README differs from `render`."""
    return [name for name in NAMES if not current(name)]


def current(name: str) -> bool:
    path = HERE / name / "README.md"
    return path.exists() and path.read_text(encoding="utf-8") == render(name)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        for name in stale():
            print(f"components/{name}/README.md is stale: run `make readmes`", file=sys.stderr)
        return 1 if stale() else 0
    for name in NAMES:
        (HERE / name / "README.md").write_text(render(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
