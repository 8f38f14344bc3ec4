"""The shape of the house: which package may import which, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "netslim": {"netslim"},
    "components": {"netslim", "netslim_kfp.components"},
    "pipelines": {"netslim", "netslim_kfp.components", "netslim_kfp.pipelines"},
}
ONLY_TRACKING_IMPORTS = "mlflow"


def imports(file: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
    return found


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, package
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_data_flows_one_way(package: str) -> None:
    ours = ("netslim", "netslim_kfp")
    for file in files(package):
        found = [name.split(".") for name in imports(file)]
        used = {".".join(name[: 1 + (name[0] == "netslim_kfp")]) for name in found if name[0] in ours}
        assert used <= MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {used - MAY_IMPORT[package]}"


def test_the_method_knows_nothing_of_kubeflow() -> None:
    for file in files("netslim"):
        assert not {name for name in imports(file) if name.split(".")[0] == "kfp"}, file


def test_steps_know_nothing_of_each_other() -> None:
    for file in files("components"):
        if file.name == "component.py":
            own = f"netslim_kfp.components.{file.parent.name}"
            others = {name for name in imports(file) if name.startswith("netslim_kfp.components.")}
            assert others <= {"netslim_kfp.components.step", own}, file


def test_only_tracking_talks_to_mlflow() -> None:
    for package in MAY_IMPORT:
        for file in files(package):
            if any(name.split(".")[0] == ONLY_TRACKING_IMPORTS for name in imports(file)):
                assert file.relative_to(ROOT).parts[:2] in (
                    ("netslim", "tracking"),
                    ("netslim", "tracking.py"),
                ), file


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import netslim", {"torch", "numpy", "mlflow", "kfp", "onnx", "matplotlib"}),
        ("import netslim.steps.evaluate", {"torch", "kfp", "matplotlib"}),
        ("import netslim.steps.prepare", {"torch", "mlflow", "kfp", "onnx", "matplotlib"}),
        ("import netslim.steps.train", {"mlflow", "kfp", "onnx", "onnxruntime", "matplotlib", "torchvision"}),
        ("import netslim.steps.prune", {"mlflow", "kfp", "onnx", "onnxruntime", "matplotlib", "torchvision"}),
        ("import netslim.__main__", {"torch", "mlflow", "kfp", "onnx", "rich"}),
    ],
)
def test_an_import_costs_only_what_it_needs(statement: str, heavy: set[str]) -> None:
    assert not loaded_after(statement) & heavy


def test_the_public_names_are_listed_sorted_and_there() -> None:
    import netslim

    assert netslim.__all__ == sorted(netslim.__all__)
    for name in netslim.__all__:
        assert getattr(netslim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netslim.nothing
