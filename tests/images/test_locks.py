"""The locks hold what pyproject.toml asks for, once and with hashes, in the versions that all others use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from netslim.cli.doctor import CONSUMER, IMAGES, SERVER

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "images" / "requirements"
CHAIN = ("torch-cuda", "data", "train", "export")
EXTRAS_OF_NO_IMAGE = {"all", "bench", "dev", "docker", "sign"}


def pins(name: str) -> dict[str, Version]:
    """Each package of a lock and its one version; every line of the file is understood, or this fails."""
    found: dict[str, Version] = {}
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        assert match, f"{name}.txt: {line[:80]}"
        assert match[1] not in found
        found[match[1]] = Version(match[2])
    return found


def requirements(*extras: str) -> list[Requirement]:
    """What the project asks for on Linux, with extras that name the project itself spelt out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
    return [Requirement(text) for text in asked]


@pytest.mark.parametrize("kind", IMAGES)
def test_each_image_of_a_step_holds_what_its_extras_ask_for(kind: str) -> None:
    held: dict[str, Version] = {}
    for layer in CHAIN[: CHAIN.index(kind) + 1]:
        held |= pins(layer)
    for wanted in requirements(*sorted(IMAGES[kind] - {"core"})):
        name = canonicalize_name(wanted.name)
        assert name in held, f"{kind}: {name}"
        assert wanted.specifier.contains(held[name]), f"{kind}: {name} {held[name]} is not {wanted.specifier}"


def test_every_extra_is_in_an_image_or_needed_by_none() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    held = set().union(*IMAGES.values()) - {"core"} | {"server"}
    assert held | EXTRAS_OF_NO_IMAGE == set(project["optional-dependencies"])


def test_no_layer_repeats_another() -> None:
    packages = [name for layer in CHAIN for name in pins(layer)]
    assert len(packages) == len(set(packages))


def test_the_consumer_gets_the_versions_that_the_steps_ran_with_and_no_torch() -> None:
    steps: dict[str, Version] = {}
    for layer in CHAIN:
        steps |= pins(layer)
    consumer = pins("consume")
    assert set(CONSUMER) <= consumer.keys()
    assert "torch" not in consumer
    assert {name: steps[name] for name in consumer} == consumer


def test_the_tracking_server_is_the_mlflow_that_the_steps_talk_to() -> None:
    steps: dict[str, Version] = {}
    for layer in CHAIN:
        steps |= pins(layer)
    server = pins("tracking")
    assert {
        canonicalize_name(wanted.name) for wanted in requirements("server")[len(requirements()) :]
    } == set(SERVER)
    assert set(SERVER) <= server.keys()
    assert "torch" not in server
    assert {name: version for name, version in server.items() if steps.get(name, version) != version} == {}


def test_containers_hold_the_versions_that_a_local_environment_gets() -> None:
    """Else the same run could give other numbers in a container than beside it."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constrained = {}
    for line in lines:
        if line and not line.startswith("#"):
            wanted = Requirement(line)
            constrained[canonicalize_name(wanted.name)] = wanted.specifier
    assert "torch" in constrained
    locked = {name: version for layer in CHAIN for name, version in pins(layer).items()}
    other = {n: str(v) for n, v in locked.items() if n in constrained and not constrained[n].contains(v)}
    assert not other, f"run images/lock.py again: {other}"


def test_locks_name_no_index() -> None:
    for file in LOCKS.iterdir():
        assert "://" not in file.read_text(encoding="utf-8"), file
