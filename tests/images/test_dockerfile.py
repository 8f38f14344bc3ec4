"""The Dockerfile follows the rules of images/README.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from netslim.cli.doctor import IMAGES
from netslim_kfp.components.images import ImageName
from netslim_kfp.pipelines.local.docker import IMAGE_USER

FOLDER = Path(__file__).parents[2] / "images"
KINDS: tuple[str, ...] = get_args(ImageName)
APART = ("consume", "tracking")
PACKAGE_LAYERS = (
    *("torch-cuda", "torch-cpu", "data-layer", "train-layer", "export-layer"),
    *(f"{kind}-layer" for kind in APART),
)


def instructions() -> Iterator[tuple[str, str, str]]:
    """(stage, instruction, its text) of the Dockerfile, continuation lines joined; the global part is ''."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    stage = ""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            if word == "FROM":
                stage = rest.rpartition(" AS ")[2]
            yield stage, word, rest


FOUND = list(instructions())
PARENTS = {stage: rest.partition(" AS ")[0] for stage, word, rest in FOUND if word == "FROM"}


def ancestors(stage: str) -> list[str]:
    found = [stage]
    while (parent := PARENTS[found[-1]].replace("${VARIANT}", "cuda")) != "${BASE}":
        found.append(parent)
    return found


def test_the_base_image_is_a_build_argument() -> None:
    external = {parent for parent in PARENTS.values() if parent.replace("${VARIANT}", "cuda") not in PARENTS}
    assert external == {"${BASE}"}
    assert ("", "ARG", "BASE") in FOUND, "without a default: images/build.py passes one with its digest"


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_runs_as_a_numeric_user_and_names_its_kind(kind: str) -> None:
    last = [(word, rest) for stage, word, rest in FOUND if stage == kind]
    assert last[-1] == ("USER", f"{IMAGE_USER}:{IMAGE_USER}")
    assert ("ENV", f"NETSLIM_IMAGE={kind}") in last
    assert ("COPY", "--from=code /code /opt/netslim") in last


def test_the_images_of_steps_share_their_layers() -> None:
    chain = ["export-layer", "train-layer", "data-layer", "torch-cuda", "python"]
    for kind in IMAGES:
        assert ancestors(kind)[1:] == chain[chain.index(f"{kind}-layer") :]
    for kind in APART:
        assert ancestors(kind) == [kind, f"{kind}-layer", "python"], "no torch"


@pytest.mark.parametrize("layer", PACKAGE_LAYERS)
def test_packages_come_before_code_and_depend_on_their_own_lock_alone(layer: str) -> None:
    (run,) = [rest for stage, word, rest in FOUND if stage == layer and word != "FROM"]
    name = layer.removesuffix("-layer")
    assert re.findall(r"source=(\S+?),", run) == ["images/install", f"images/requirements/{name}.txt"]
    assert run.endswith(f"/run/install /run/{name}.txt")


def test_only_locked_packages_are_downloaded() -> None:
    for file in ("Dockerfile", "install"):
        text = (FOLDER / file).read_text(encoding="utf-8")
        assert not re.search(
            r"https?://|apt-get|apk |curl |wget |ADD |:latest|--index-url|--find-links", text
        )
    assert "--require-hashes" in (FOLDER / "install").read_text(encoding="utf-8")
