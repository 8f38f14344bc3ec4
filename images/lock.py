"""Lock what the images install: each version, with the hashes of its files, one file per layer.

    python images/lock.py                    all layers, with PyTorch's CUDA build
    python images/lock.py --variant cpu      only the torch layer, from the index of PyTorch's CPU builds

The whole is resolved once, from pyproject.toml; then each package goes to the first layer that needs it. So
the layers add up to exactly what was resolved, no file repeats another, and images that share a layer share
its bytes. Needs uv, which resolves for Linux whatever it runs on.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "images" / "requirements"

LAYERS: dict[str, tuple[str, ...]] = {
    "torch-cuda": (),  # what is large and changes least comes first
    "data": ("pipeline", "s3"),
    "train": ("tracking",),
    "export": ("export", "report"),
}
"""The extras of pyproject.toml that each layer adds. Every image of a step holds the layers up to its own."""

CONSUMER = ("onnxruntime", "numpy", "pillow", "click", "rich")
"""What the consumer image holds; torch is not among it, though netslim as a whole depends on it."""

TRACKING = ("click", "rich")
"""What the tracking server's image holds besides the extra `server`: what examines it."""

HEADER = "# Written by images/lock.py from pyproject.toml; do not edit.\n"


def compile_lock(requirements: Iterable[str], *, within: Path | None, options: Sequence[str] = ()) -> str:
    """What uv resolves `requirements` to, each with its hashes, from within the pins of the file `within`."""
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
    command += ["--python-version", "3.11", "--python-platform", "linux", *options]
    command += ["--constraints", str(within)] if within else []
    asked = "\n".join(requirements)
    done = subprocess.run([*command, "-"], input=asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"images/lock.py: uv found no solution\n{done.stderr}")
    return done.stdout


def entries(lock: str) -> dict[str, str]:
    """The text of each package's entry, by the package's name."""
    found = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return {entry.split("==")[0]: entry for entry in found if "==" in entry}


def asked_for(extras: Iterable[str]) -> list[str]:
    """The requirements of pyproject.toml's project and of some of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for e in extras for one in project["optional-dependencies"][e])]


def write(name: str, packages: dict[str, str]) -> None:
    (LOCKS / f"{name}.txt").write_text(HEADER + "".join(packages.values()), encoding="utf-8")
    click.echo(f"{name}: {len(packages)} packages")


def torch_requirements() -> list[str]:
    return [one for one in asked_for(()) if one.startswith("torch")]


def lock_all(whole: Path) -> None:
    constraints = ROOT / "constraints.txt"
    extras = [extra for layer in LAYERS.values() for extra in layer]
    whole.write_text(compile_lock(asked_for(extras), within=constraints), encoding="utf-8")
    pinned, placed = entries(whole.read_text(encoding="utf-8")), set[str]()
    so_far: list[str] = []
    for layer, adds in LAYERS.items():
        so_far += adds
        wanted = asked_for(so_far) if adds else torch_requirements()
        names = entries(compile_lock(wanted, within=whole)).keys() - placed
        write(layer, {name: pinned[name] for name in sorted(names)})
        placed |= names
    assert placed == pinned.keys()
    write("consume", entries(compile_lock(CONSUMER, within=whole)))
    server = [*TRACKING, *asked_for(("server",))[len(asked_for(())) :]]
    write("tracking", entries(compile_lock(server, within=whole)))
    write("build", entries(compile_lock(["setuptools>=77"], within=None)))


def lock_cpu() -> None:
    """The CPU build of the same PyTorch, with the same versions of what it shares with the other layers."""
    pins = [
        entry.split()[0]
        for layer in LAYERS
        for name, entry in entries((LOCKS / f"{layer}.txt").read_text(encoding="utf-8")).items()
        if not name.startswith(("nvidia-", "cuda-", "triton"))
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as within:
        within.write("\n".join(pins))
        within.flush()
        backend = ("--torch-backend", "cpu")
        locked = compile_lock(torch_requirements(), within=Path(within.name), options=backend)
        write("torch-cpu", entries(locked))


@click.command(help=__doc__)
@click.option("--variant", type=click.Choice(["cuda", "cpu"]), default="cuda")
def main(variant: str) -> None:
    LOCKS.mkdir(exist_ok=True)
    if variant == "cpu":
        lock_cpu()
        return
    with tempfile.TemporaryDirectory() as folder:
        lock_all(Path(folder) / "whole.txt")


if __name__ == "__main__":
    main()
