"""The parts of the build scripts that need no engine: what is downloaded, and the errors."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

IMAGES = Path(__file__).parents[2] / "images"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_build", IMAGES / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stub(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_default_base_is_named_by_its_digest(build: ModuleType) -> None:
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", build.BASE)


@pytest.mark.parametrize(
    ("kinds", "layers"),
    [
        (("consume",), ["build", "consume"]),
        (("data",), ["build", "torch-cpu", "data"]),
        (("export", "data"), ["build", "torch-cpu", "data", "train", "export"]),
        (
            ("data", "train", "export", "consume"),
            ["build", "torch-cpu", "data", "train", "export", "consume"],
        ),
    ],
)
def test_only_the_packages_of_the_chosen_images_are_downloaded(
    build: ModuleType, kinds: tuple[str, ...], layers: list[str]
) -> None:
    assert build.locks(kinds, "cpu") == [f"{layer}.txt" for layer in layers]


def test_a_docker_command_that_cannot_build_is_skipped(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(tmp_path, "old", "echo 'Build an image from a Dockerfile'")
    stub(tmp_path, "new", "echo '--secret stringArray'")
    monkeypatch.setattr(build, "CLIENTS", (str(tmp_path / "absent"), str(tmp_path / "old")))
    with pytest.raises(click.ClickException, match="docker-buildx"):
        build.engine_client()
    monkeypatch.setattr(build, "CLIENTS", (str(tmp_path / "old"), str(tmp_path / "new")))
    assert build.engine_client() == str(tmp_path / "new")


def test_a_variant_without_a_lock_gives_the_command_that_makes_one(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "IMAGES", tmp_path)
    monkeypatch.setattr(build, "engine_client", lambda: "docker")
    done = CliRunner().invoke(build.main, ["data", "--variant", "cpu"])
    assert done.exit_code == 1
    assert "images/lock.py --variant cpu" in done.output


def test_a_machine_without_an_engine_gets_a_prominent_error(tmp_path: Path) -> None:
    stub(tmp_path, "docker", "exit 1")
    stub(tmp_path, "id", "echo 1000")
    done = subprocess.run(
        [IMAGES / "engine.sh", "start"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER": "docker"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No container engine runs here: none answers, and only root can start one" in done.stderr
    assert "Nothing was built or tested in containers." in done.stderr


def test_a_running_engine_is_not_stopped_by_us(tmp_path: Path) -> None:
    stub(tmp_path, "docker", "exit 0")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DOCKER": "docker"}
    done = subprocess.run([IMAGES / "engine.sh", "start"], env=environment, capture_output=True, check=True)
    assert done.stdout == b"", "e2e.sh stops the engine only after the output `started`"
