"""The locks contain the requirements of pyproject.toml, once, with hashes, as constraints.txt pins them."""

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
CONSUMER_EXTRAS, SERVER_EXTRAS = {"verify"}, {"server"}
EXTRAS_OF_NO_IMAGE = {"all", "bench", "collections", "dev", "docker", "sign"}


def pins(name: str) -> dict[str, Version]:
    """Each package of a lock and its one version; a line in another format fails."""
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
    """The requirements of the project and of some of its extras, none of which names another extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
    assert not [text for text in texts if text.startswith("netslim")]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("kind", IMAGES)
def test_each_image_of_a_step_has_the_requirements_of_its_extras(kind: str) -> None:
    held: dict[str, Version] = {}
    for layer in CHAIN[: CHAIN.index(kind) + 1]:
        held |= pins(layer)
    for wanted in requirements(*sorted(IMAGES[kind] - {"core"})):
        name = canonicalize_name(wanted.name)
        assert name in held, f"{kind}: {name}"
        assert wanted.specifier.contains(held[name]), f"{kind}: {name} {held[name]} is not {wanted.specifier}"


def test_every_extra_is_in_an_image_or_excluded_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    held = set().union(*IMAGES.values()) - {"core"} | CONSUMER_EXTRAS | SERVER_EXTRAS
    assert held | EXTRAS_OF_NO_IMAGE == set(project["optional-dependencies"])


def test_no_layer_repeats_another() -> None:
    packages = [name for layer in CHAIN for name in pins(layer)]
    assert len(packages) == len(set(packages))


@pytest.mark.parametrize(
    ("lock", "extras", "examined"),
    [("consume", CONSUMER_EXTRAS, CONSUMER), ("tracking", SERVER_EXTRAS, SERVER)],
)
def test_images_without_torch_have_the_versions_of_the_steps(
    lock: str, extras: set[str], examined: tuple[str, ...]
) -> None:
    steps: dict[str, Version] = {}
    for layer in CHAIN:
        steps |= pins(layer)
    held = pins(lock)
    assert "torch" not in held
    assert set(examined) <= held.keys()
    assert {canonicalize_name(wanted.name) for wanted in requirements(*extras)} <= held.keys()
    assert {name: version for name, version in held.items() if steps.get(name, version) != version} == {}


def test_containers_have_the_versions_of_a_local_environment() -> None:
    """Otherwise the same run could give other numbers in a container."""
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
