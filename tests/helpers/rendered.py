"""The manifests as a cluster gets them: rendered by kustomize itself, on its own or within kubectl."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2] / "manifests"
OVERLAYS = ("local", "gpu-cluster")
ROOTS = (*(f"overlays/{name}" for name in OVERLAYS), "loader", "secrets", "serving", "trainer")

Object = dict[str, Any]


@cache
def render(root: str, *, setting: tuple[str, str] | None = None) -> tuple[Object, ...]:
    """Every object of one of `ROOTS`, with the secrets' examples in place of the files nobody commits.

    Args:
        setting: name and value to write into the overlay's settings.env first, as an operator would.
    """
    kubectl, kustomize = shutil.which("kubectl"), shutil.which("kustomize")
    if not (kubectl or kustomize):
        raise RuntimeError("MANIFESTS NOT TESTED: neither kubectl nor kustomize is installed")
    command = [str(kustomize), "build"] if kustomize else [str(kubectl), "kustomize"]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "manifests")
        shutil.copytree(ROOT, copy)
        for example in copy.glob("secrets/*.env.example"):
            shutil.copy(example, example.with_suffix(""))
        if setting:
            _write(copy / root / "settings.env", *setting)
        done = subprocess.run([*command, str(copy / root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def _write(file: Path, name: str, value: str) -> None:
    known = settings(file)
    assert name in known
    file.write_text("".join(f"{key}={text}\n" for key, text in {**known, name: value}.items()))


def settings(file: Path) -> dict[str, str]:
    """Names and values of a settings.env."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def cluster(overlay: str) -> tuple[Object, ...]:
    """What is there after an operator has followed docs/operate.md."""
    return tuple(
        thing
        for root in (f"overlays/{overlay}", "loader", "secrets", "serving", "trainer")
        for thing in render(root)
    )


def of_kind(objects: tuple[Object, ...], *kinds: str) -> dict[str, Object]:
    return {thing["metadata"]["name"]: thing for thing in objects if thing["kind"] in kinds}


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """(name, pod template) of everything that makes pods."""
    for name, thing in of_kind(objects, "Deployment", "StatefulSet", "Job").items():
        yield name, thing["spec"]["template"]
    for name, thing in of_kind(objects, "TrainingRuntime").items():
        for job in thing["spec"]["template"]["spec"]["replicatedJobs"]:
            yield name, job["template"]["spec"]["template"]


def every_pod() -> list[tuple[str, Object]]:
    """(where, pod template) of all manifests."""
    return [(f"{root}: {name}", template) for root in ROOTS for name, template in pods(render(root))]


def containers(template: Object) -> list[Object]:
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def tracking_server(overlay: str) -> Object:
    """The container of MLflow's server."""
    (found,) = of_kind(render(f"overlays/{overlay}"), "Deployment")["netslim-tracking"]["spec"]["template"][
        "spec"
    ]["containers"]
    container: Object = found
    return container
