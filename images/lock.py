"""Lock the packages of the images: each version, with the hashes of its files, one file per layer.

    python images/lock.py                    all layers, with PyTorch's CUDA build
    python images/lock.py --variant cpu      only the torch layer, from the index of PyTorch's CPU builds

All requirements of pyproject.toml are resolved once. Then each package goes to the first layer that needs it.
So the layers together contain exactly the resolved packages, no two layers contain the same package, and
images share the layers that they have in common. Needs uv, which resolves for Linux on every platform.
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
    "torch-cuda": (),  # PyTorch alone: the largest layer, which changes least, comes first
    "data": ("torch", "pipeline", "s3"),
    "train": ("tracking",),
    "export": ("export", "report"),
}
"""The extras of pyproject.toml that each layer adds. The image of a step has all layers up to its own."""

CONSUMER = ("verify",)
"""The extras in the consumer image, which also has pillow to read image files. It has no torch."""

TRACKING = ("server",)
"""The extras in the image of the tracking server."""

HEADER = "# Written by images/lock.py from pyproject.toml; do not edit.\n"


def compile_lock(requirements: Iterable[str], *, within: Path | None, options: Sequence[str] = ()) -> str:
    """The lock that uv makes of `requirements`, with hashes, within the pins of the file `within`."""
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
    return [one for one in asked_for(("torch",)) if one.startswith("torch")]


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
    write("consume", entries(compile_lock([*asked_for(CONSUMER), "pillow"], within=whole)))
    write("tracking", entries(compile_lock(asked_for(TRACKING), within=whole)))
    write("build", entries(compile_lock(["setuptools>=77"], within=None)))


def lock_cpu() -> None:
    """Lock the CPU build of the same PyTorch; packages that other layers also need keep their versions."""
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
