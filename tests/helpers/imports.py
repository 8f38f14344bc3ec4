"""The imports of the project's modules, read from their source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import netslim

__all__ = ["ROOT", "external_imports", "import_graph", "imported_names", "modules", "own_module", "room"]

ROOT = Path(__file__).parents[2]
INSTALLED_AS = {
    "netslim": "netslim",
    "components": "netslim_kfp.components",
    "pipelines": "netslim_kfp.pipelines",
}


@cache
def modules() -> Mapping[str, Path]:
    """The file of each module, by the module's installed name."""
    found = {}
    for folder, package in INSTALLED_AS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = file
    return found


def room(module: str) -> str:
    """The part of the project that a module belongs to: the unit in which imports are allowed.

    It is a folder, such as "bundle" or "pipelines.local", or a module that is in no folder, such as "errors".
    All components are one room. "netslim" is netslim/__init__.py.
    """
    package, *rest = module.removeprefix("netslim_kfp.").split(".")
    if package == "netslim":
        return rest[0] if rest else package
    return ".".join((package, *rest[:1])) if package == "pipelines" else package


def import_graph() -> dict[str, set[str]]:
    """The project's modules that each module imports, at its top or inside a function.

    Imports below `if TYPE_CHECKING` do not count. `import netslim; netslim.prune(...)` counts as an import of
    the module that defines `prune`.
    """
    return {
        module: {own for name in imported_names(file) if (own := own_module(name)) not in (None, module)}
        for module, file in modules().items()
    }


def external_imports(file: Path) -> set[str]:
    """The top-level names of other packages that a file imports."""
    names = {name.split(".")[0] for name in imported_names(file)}
    return names - {"netslim", "netslim_kfp"}


def own_module(name: str) -> str | None:
    """The module of this project that provides `name`; None for other packages."""
    package, _, attribute = name.partition(".")
    if package == "netslim" and attribute in netslim._HOMES:  # a public name that is loaded on first use
        return f"netslim.{netslim._HOMES[attribute]}"
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def imported_names(file: Path) -> set[str]:
    """The dotted names that a file imports, and the names that it reads as `netslim.NAME`."""
    return set(_walk(file))


def _walk(file: Path) -> Iterator[str]:
    pending: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "netslim":
            yield f"netslim.{node.attr}"
        pending += ast.iter_child_nodes(node)
