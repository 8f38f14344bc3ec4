"""Each component: its folder, its README, and how it compiles."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from netslim.errors import ConfigError
from netslim_kfp.components import readme
from netslim_kfp.components.images import image

ROOT = Path(readme.__file__).parent


@pytest.mark.parametrize("name", readme.NAMES)
def test_a_component_is_a_folder_with_three_files(name: str) -> None:
    assert {file.name for file in (ROOT / name).iterdir() if file.suffix in (".py", ".md", ".yaml")} == {
        "__init__.py",
        "component.py",
        "README.md",
        "metadata.yaml",
    }


def test_no_component_is_missing_from_the_list() -> None:
    assert {folder.name for folder in ROOT.iterdir() if (folder / "component.py").exists()} == set(
        readme.NAMES
    )


def test_the_readmes_are_what_the_signatures_say() -> None:
    assert readme.stale() == [], "run `make readmes`"


@pytest.mark.parametrize("name", readme.NAMES)
def test_every_input_and_output_is_described(name: str) -> None:
    rows = [line for line in readme.render(name).splitlines() if line.startswith("| `")]
    assert rows
    assert all(not line.endswith("|  |") for line in rows)


@pytest.mark.parametrize("name", readme.NAMES)
def test_metadata_names_the_image_the_component_uses(name: str) -> None:
    metadata = yaml.safe_load((ROOT / name / "metadata.yaml").read_text())
    component = getattr(importlib.import_module(f"netslim_kfp.components.{name}.component"), name)
    used = component.component_spec.implementation.container.image
    assert metadata["name"] == name
    assert used == image(metadata["image"])


def test_an_image_has_a_registry_and_a_tag_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETSLIM_REGISTRY", "registry.example/team/")
    monkeypatch.setenv("NETSLIM_IMAGE_TAG", "1.2.3")
    assert image("train") == "registry.example/team/netslim-train:1.2.3"
    with pytest.raises(ConfigError, match="image tag = latest: the step cache cannot distinguish"):
        image("train", tag="latest")
