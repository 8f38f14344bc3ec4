"""Write docs/api.md from the public names: their signatures and docstrings.

python -m docs.api            write it
python -m docs.api --check    exit code 1 when it is not current
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("api.md")

MODULES = (
    "netslim",
    "netslim.sparsity",
    "netslim.models",
    "netslim.data",
    "netslim.training.distributed",
    "netslim.bundle.verify",
    "netslim.bundle.publish",
    "netslim.bundle.sign",
    "netslim.errors",
)
"""The modules with public names. All other modules may change without notice."""

ONLY = {
    "netslim.training.distributed": ("process_group",),
    "netslim.bundle.sign": ("sign",),
    "netslim.errors": (
        "BundleError",
        "ConfigError",
        "DataError",
        "ExportError",
        "ModelError",
        "NetslimError",
        "PipelineError",
        "StorageError",
        "TrackingError",
        "TrainingError",
    ),
}
"""The public names of a module that has others; elsewhere all names of `__all__` are public."""

HEAD = """# Python API

The public names of netslim. All other names may change in any version. The command line, its exit codes
([guide.md](guide.md)) and the formats of plans, bundles and results are public, too.

<!-- Written by `make api` from signatures and docstrings. -->
"""


def public_names() -> dict[str, tuple[str, ...]]:
    """The public names of each module of `MODULES`."""
    return {module: ONLY.get(module) or tuple(importlib.import_module(module).__all__) for module in MODULES}


def render() -> str:
    """The whole page."""
    parts = [HEAD]
    for module, names in public_names().items():
        home = importlib.import_module(module)
        parts.append(f"## {module}\n\n{_text(home)}\n")
        parts += [_entry(module, name, getattr(home, name)) for name in names]
    return "\n".join(parts).rstrip("\n") + "\n"


def _entry(module: str, name: str, value: Any) -> str:
    if not callable(value):
        return f"### {module}.{name}\n\n`{value!r}`\n"
    if value.__name__ != name:
        return f"### {module}.{name}\n\nAnother name of `{value.__name__}`.\n"
    if inspect.isclass(value) and not value.__doc__:
        return f"### {module}.{name}\n\nA `{value.__base__.__name__}`.\n"
    kind = "class " if inspect.isclass(value) else ""
    parts = [f"### {module}.{name}\n\n```python\n{kind}{name}{_signature(value)}\n```\n\n{_text(value)}\n"]
    if inspect.isclass(value):
        for method, member in sorted(vars(value).items()):
            if not method.startswith("_") and (doc := inspect.getdoc(_unwrapped(member))) and _is_own(member):
                shown = "" if isinstance(member, property) else _signature(getattr(value, method))
                parts.append(f"**`.{method}{shown}`**\n\n{_fenced(doc)}\n")
    return "\n".join(parts)


def _unwrapped(member: Any) -> Any:
    return getattr(member, "__func__", member)


def _is_own(member: Any) -> bool:
    """Whether `member` is a method or a property, and not a field with a default."""
    return inspect.isfunction(_unwrapped(member)) or isinstance(member, property)


def _signature(value: Any) -> str:
    """The signature as it would be written in the source, in one line or with one parameter per line."""
    signature = inspect.signature(value)
    parameters, marked = [], False
    for parameter in signature.parameters.values():
        marked = marked or parameter.kind is inspect.Parameter.VAR_POSITIONAL
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not marked:
            parameters.append("*")
            marked = True
        parameters.append(_parameter(parameter))
    returned = signature.return_annotation
    end = "" if inspect.isclass(value) or returned is inspect.Signature.empty else f" -> {_type(returned)}"
    line = f"({', '.join(parameters)}){end}"
    if len(line) <= 90:
        return line
    return "(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){end}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    text = stars.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {_type(parameter.annotation)}"
    if parameter.default is inspect.Parameter.empty:
        return text
    default = repr(parameter.default)
    return f"{text} = {'...' if default.startswith('<') else default}"


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _text(value: Any) -> str:
    doc = inspect.cleandoc(value.__doc__ or "")  # not inspect.getdoc, which takes that of the base class
    return _fenced(doc)


def _fenced(doc: str) -> str:
    """A docstring as Markdown: its first paragraph as text, the rest as it was laid out."""
    first, _, rest = doc.partition("\n\n")
    first = " ".join(first.split())
    return f"{first}\n\n```text\n{rest.rstrip()}\n```" if rest.strip() else first


def main() -> None:
    text = render()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/api.md is not current: run `make api`")
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
