"""The order of the project: which room may import which, and what an import may load."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.imports import (
    ROOT,
    external_imports,
    import_graph,
    imported_names,
    modules,
    own_module,
    room,
)

# Each room (see `room`), with the rooms that it may import. A room may import only rooms above it.
MAY_IMPORT = {
    "errors": "",
    "progress": "errors",
    "child_process": "",
    "netslim": "errors",
    "nn": "errors",
    "storage": "errors progress",
    "sparsity": "errors nn",
    "cost": "errors nn",
    "data": "errors progress storage",
    "dependency": "errors nn",
    "pruning": "errors progress nn sparsity cost dependency",
    "training": "errors progress nn storage sparsity data",
    "onnx_export": "errors nn storage data",
    "models": "errors nn storage pruning onnx_export",
    "results": "errors storage pruning",
    "report": "netslim pruning results",
    "bundle": "errors netslim storage data pruning onnx_export results report",
    "tracking": "errors child_process netslim storage results report bundle",
    "steps": "errors progress child_process netslim nn storage sparsity cost data pruning training models"
    " onnx_export results report bundle tracking",
    "cli": "errors netslim nn storage data pruning training models results report bundle tracking",
    "__main__": "errors child_process netslim",
    "components": "errors progress child_process netslim pruning results steps",
    "pipelines": "",
    "pipelines.yaml_numbers": "",
    "pipelines.inputs": "",
    "pipelines.config_errors": "errors pipelines.yaml_numbers",
    "pipelines.run_options": "pruning pipelines.config_errors",
    "pipelines.run_config": "errors pruning steps pipelines.config_errors pipelines.run_options",
    "pipelines.config_file": "errors pipelines.yaml_numbers pipelines.config_errors pipelines.run_config",
    "pipelines.config_schema": "pipelines.run_config",
    "pipelines.compiler": "storage",
    "pipelines.cluster": "errors netslim storage steps components pipelines.yaml_numbers",
    "pipelines.tasks": "steps components pipelines.inputs pipelines.cluster",
    "pipelines.slimming": "errors pipelines.inputs pipelines.run_config pipelines.cluster pipelines.tasks",
    "pipelines.sweeps": "pipelines.inputs pipelines.run_config pipelines.cluster pipelines.tasks",
    "pipelines.local": "errors progress child_process storage data tracking components"
    " pipelines.run_config pipelines.compiler",
    "pipelines.preflight": "errors storage data pruning training models tracking"
    " pipelines.run_config pipelines.local",
    "pipelines.cli": "errors results report tracking components pipelines.yaml_numbers"
    " pipelines.config_errors pipelines.run_config pipelines.config_file pipelines.config_schema"
    " pipelines.compiler pipelines.cluster pipelines.slimming pipelines.sweeps pipelines.local"
    " pipelines.preflight",
}

# Packages that only one folder may import.
ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "mlflow": "netslim/tracking/",
    "kfp": ("components/", "pipelines/"),
    "kubernetes": ("netslim/steps/launch/", "pipelines/"),
}

# Base classes of torch.nn with an underscore, which torch has exported under these names since version 0.4.
TORCH_BASE_CLASSES = {"_BatchNorm", "_ConvNd", "_ConvTransposeNd"}
# Attributes of nn.Module that only these files may name. deepcopy is the public way, and too slow.
COPIES = ("netslim/nn/module_copy.py", "netslim/nn/attributes_before.py")
MODULE_INTERNALS = {
    "_parameters": (*COPIES, "netslim/nn/layer_calls.py"),
    "_buffers": (*COPIES, "netslim/nn/layer_calls.py"),
    "_modules": COPIES,
    "_compiled_call_impl": "netslim/nn/module_copy.py",
    "_orig_mod": "netslim/nn/modes.py",
    "_load_from_state_dict": "netslim/nn/channel_select.py",  # torch documents that subclasses may extend it
}
NAMEDTUPLE_METHODS = {"_asdict", "_replace", "_fields"}  # public; the underscore avoids clashes with fields


def test_rooms_import_only_what_the_table_allows() -> None:
    graph = import_graph()
    assert {room(module) for module in graph} == MAY_IMPORT.keys(), "add a new room to the table"
    wrong = [
        f"{module} imports {imported}"
        for module, imports in graph.items()
        for imported in imports
        if room(imported) != room(module) and room(imported) not in MAY_IMPORT[room(module)].split()
    ]
    assert not wrong


def test_the_table_allows_imports_in_one_direction_only() -> None:
    order = list(MAY_IMPORT)
    for name, allowed in MAY_IMPORT.items():
        assert set(allowed.split()) <= set(order[: order.index(name)]), name


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter(import_graph()).prepare()  # raises CycleError with the modules of the circle


def test_lazy_imports_count_and_imports_for_types_do_not(tmp_path: Path) -> None:
    source = """
import netslim
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import mlflow
else:
    import json
def function():
    from netslim.data import packed
    import onnx.helper
    return netslim.prune
"""
    (tmp_path / "module.py").write_text(source)
    assert imported_names(tmp_path / "module.py") == {
        *("netslim", "typing.TYPE_CHECKING", "json", "netslim.data.packed", "onnx.helper", "netslim.prune")
    }
    assert own_module("netslim.prune") == "netslim.pruning.pruner"
    assert own_module("netslim.data.packed.open_dataset") == "netslim.data.packed"
    assert own_module("onnx.helper") is None


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_in_its_own_folder_only(package: str) -> None:
    users = {path(file) for file in modules().values() if package in external_imports(file)}
    assert users, "the entry is not needed any more"
    assert not {user for user in users if not user.startswith(ONLY_IN[package])}


def test_only_the_launcher_names_kubernetes() -> None:
    """In code: names and strings. Comments and docstrings may explain what happens on a cluster."""
    for file in modules().values():
        if path(file).startswith("netslim/") and not path(file).startswith("netslim/steps/launch/"):
            words = [word.lower() for word in code_words(file)]
            assert not [word for word in words if "kubernetes" in word and word != "kfp-kubernetes"], file


def test_components_do_not_import_each_other() -> None:
    graph = import_graph()
    components = {module.removesuffix(".component") for module in graph if module.endswith(".component")}
    assert len(components) == 7
    for component in components:
        own = {component, f"{component}.component"}
        others = {name for name in graph[f"{component}.component"] if name.startswith(tuple(components))}
        assert others <= own, component


def test_private_functions_of_torch_are_called_in_one_file() -> None:
    """Other objects' private attributes are read in nn/_torch.py only, whatever package they are from."""
    for file in modules().values():
        if path(file) != "netslim/nn/_torch.py":
            names = set(private_names(file)) - TORCH_BASE_CLASSES - NAMEDTUPLE_METHODS
            assert not {name for name in names if path(file) not in MODULE_INTERNALS.get(name, ())}, file


def path(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def code_words(file: Path) -> Iterator[str]:
    """The identifiers and strings of a file, without docstrings."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute | ast.alias):
            yield ast.unparse(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def private_names(file: Path) -> Iterator[str]:
    """Private names of other objects that a file reads or imports, and private attributes of nn.Module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield from private(node.attr)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "torch":
            for name in (*str(node.module).split("."), *(alias.name for alias in node.names)):
                yield from private(name)
        elif isinstance(node, ast.Constant) and node.value in MODULE_INTERNALS:
            yield str(node.value)


def private(name: str) -> list[str]:
    return [name] if name.startswith("_") and not name.startswith("__") else []


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a new interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "not_loaded"),
    [
        ("import netslim", {"torch", "numpy", "mlflow", "kfp", "onnx", "matplotlib"}),
        ("import netslim.steps.evaluate", {"torch", "kfp", "matplotlib"}),
        ("import netslim.steps.prepare", {"torch", "mlflow", "kfp", "onnx", "matplotlib"}),
        ("import netslim.steps.train", {"mlflow", "kfp", "onnx", "onnxruntime", "matplotlib", "torchvision"}),
        ("import netslim.steps.prune", {"mlflow", "kfp", "onnx", "onnxruntime", "matplotlib", "torchvision"}),
        ("import netslim.__main__", {"torch", "mlflow", "kfp", "onnx", "rich"}),
    ],
)
def test_an_import_loads_only_what_it_needs(statement: str, not_loaded: set[str]) -> None:
    assert not loaded_after(statement) & not_loaded


def test_the_public_names_are_listed_sorted_and_exist() -> None:
    import netslim

    assert netslim.__all__ == sorted(netslim.__all__)
    for name in netslim.__all__:
        assert getattr(netslim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netslim.nothing
