"""Each component: its folder, its README, its metadata, and its defaults."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from netslim.errors import ConfigError
from netslim.pruning.options import PruningOptions
from netslim_kfp.components import readme
from netslim_kfp.components.images import image
from netslim_kfp.components.prune.component import prune
from netslim_kfp.pipelines.cluster.profiles import PROFILE_OF_STEP

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


def test_the_readmes_agree_with_the_signatures() -> None:
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
    assert metadata["resource_profile"] == PROFILE_OF_STEP[name]


@pytest.mark.parametrize("name", readme.NAMES)
def test_metadata_names_the_external_services_of_the_inputs(name: str) -> None:
    """A step with an input `experiment` writes to MLflow; training and data may read S3."""
    metadata = yaml.safe_load((ROOT / name / "metadata.yaml").read_text())
    component = getattr(importlib.import_module(f"netslim_kfp.components.{name}.component"), name)
    services = {"MLflow"} if "experiment" in component.component_spec.inputs else set()
    services |= {"S3"} if name in ("prepare_data", "train_sparse", "fine_tune") else set()
    assert set(metadata["dependencies"]["external_services"]) == services


def test_the_defaults_of_prune_are_those_of_the_pruning_options() -> None:
    inputs = prune.component_spec.inputs
    options = PruningOptions().to_inputs()
    assert {name: inputs[name].default for name in options} == options
    others = {name for name, item in inputs.items() if not str(item.type).startswith("system.")}
    assert others - set(options) == {"architecture", "pass_index"}


def test_the_components_have_owners() -> None:
    owners = yaml.safe_load((ROOT / "OWNERS").read_text(encoding="utf-8"))
    assert owners["approvers"]
    assert owners["reviewers"]


def test_an_image_has_a_registry_and_a_tag_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETSLIM_REGISTRY", "registry.example/team/")
    monkeypatch.setenv("NETSLIM_IMAGE_TAG", "1.2.3")
    assert image("train") == "registry.example/team/netslim-train:1.2.3"
    with pytest.raises(ConfigError, match="image tag = latest: the step cache cannot distinguish"):
        image("train", tag="latest")
