"""The source archive and the wheel: what they contain, and that the wheel works without PyTorch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from netslim import __version__, data
from tests.helpers.bundles import make_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "netslim", "components", "pipelines")
INSTALLED_AS = {
    "netslim": "netslim",
    "components": "netslim_kfp/components",
    "pipelines": "netslim_kfp/pipelines",
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive, and with the wheel that was built from that archive."""
    tree = tmp_path_factory.mktemp("tree")  # not the working tree, whose build/ folder setuptools would reuse
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, tree / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    built = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert built.returncode == 0, built.stderr
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (file,) = dist.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"netslim-{__version__}.dist-info/METADATA"))


def environment() -> dict[str, str]:
    """This process's environment without what would let Python find the working tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def test_twine_accepts_both_archives(dist: Path) -> None:
    files = sorted(map(str, dist.iterdir()))
    assert [Path(file).name for file in files] == [
        f"netslim-{__version__}-py3-none-any.whl",
        f"netslim-{__version__}.tar.gz",
    ]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_wheel_contains_all_sources_below_two_names(wheel: Path) -> None:
    """Every file of the three folders, except tests and caches; no top-level `components` or `pipelines`."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"netslim", "netslim_kfp"}
    expected = {
        f"{installed}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, installed in INSTALLED_AS.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names == expected


def test_links_of_the_long_description_work_outside_the_repository(metadata: Message) -> None:
    """Links are absolute, and those into the repository point to files that exist."""
    description = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)\s]+)\)", description)
    repository = "https://github.com/netslim/netslim/"
    paths = [link.removeprefix(repository) for link in links if link.startswith(repository)]
    assert len(paths) > 10
    assert not [link for link in links if not link.startswith("https://")]
    for path in paths:
        kind, branch, file = path.split("/", 2)
        assert (kind, branch) == ("raw" if file.endswith(".png") else "blob", "main")
        assert (ROOT / file).exists(), file


def test_metadata_names_licence_address_and_python(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    labels = {line.partition(",")[0] for line in metadata.get_all("Project-URL", [])}
    assert labels == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert "Programming Language :: Python :: 3.11" in metadata.get_all("Classifier", [])


def test_torch_comes_with_its_extra_and_below_the_next_version(metadata: Message) -> None:
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]

    def brought_by(extra: str) -> dict[str, Requirement]:
        wanted = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": extra})]
        return {one.name: one for one in wanted}

    assert brought_by("").keys() == {"numpy", "safetensors", "click", "rich", "pyyaml"}
    assert brought_by("verify").keys() == {*brought_by(""), "onnx", "onnxruntime"}
    assert "torch" in brought_by("all")["netslim"].extras
    torch = brought_by("torch")["torch"].specifier
    assert torch.contains("2.15.3")
    assert not torch.contains("2.16.0")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of a new virtual environment with the wheel and its extra `verify`, from the package index."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet"]
    command = [*pip, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[verify]"]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    return interpreter


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python outside of the working tree."""
    command = [str(python), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=python.parent, env=environment()
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    data.prepare("digits", folder / "digits")
    return make_bundle(folder, folder / "digits")


def test_the_environment_has_no_torch(python: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'sklearn', 'mlflow') if u.find_spec(n)])"
    assert run(python, "-c", code).stdout == "[]\n"


def test_help_and_doctor_work_without_torch(python: Path) -> None:
    helped = run(python, "-m", "netslim", "--help")
    assert helped.returncode == 0, helped.stderr
    assert re.search(r"^  verify +Check a bundle", helped.stdout, re.MULTILINE)
    examined = run(python, "-m", "netslim", "doctor")
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert re.search(r"^ ok +onnxruntime", examined.stdout, re.MULTILINE)
    assert re.search(r"^ -- +torch +pip install 'netslim\[torch\]'", examined.stdout, re.MULTILINE)


def test_verify_and_bench_work_without_torch(python: Path, bundle: Path) -> None:
    verified = run(python, "-m", "netslim", "verify", str(bundle))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert re.findall(r"^ ok +(\w+)", verified.stdout, re.MULTILINE) == [
        *("names", "checksums", "models", "contents", "samples")
    ]
    measured = run(python, "-m", "netslim", "bench", str(bundle), "--seconds", "0.01")
    assert measured.returncode == 0, measured.stdout + measured.stderr
    assert "p50 ms, batch 1" in measured.stdout


def test_the_console_script_is_installed(python: Path) -> None:
    script = python.with_name("netslim")
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd="/")
    assert shown.stdout.strip() == f"netslim, version {__version__}"


def test_pruning_without_torch_names_the_extra(python: Path) -> None:
    pruned = run(python, "-c", "import netslim; netslim.prune")
    message = "netslim.errors.NetslimError: netslim.prune: needs torch. pip install 'netslim[torch]'."
    assert pruned.stderr.splitlines()[-1] == message
