"""A mistake is found before the first step starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netslim import tracking
from netslim.errors import ConfigError, ModelError, StorageError
from netslim_kfp.pipelines import preflight
from netslim_kfp.pipelines.run_config import RunConfig


@pytest.mark.parametrize(
    ("output", "problem"),
    [("file/out", "a file is in place of a folder"), ("x" * 300, "the name is too long")],
    ids=["below a file", "300 characters"],
)
def test_an_output_that_cannot_be_made_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(preflight, "check_names", lambda config: None)
    monkeypatch.setattr(tracking, "check_tracking_server", lambda *_: pytest.fail("the output comes first"))
    with pytest.raises(StorageError, match=problem):
        preflight.check_run(RunConfig(output=tmp_path / output), "sqlite:///nowhere.db")


@pytest.mark.parametrize("name", ["num_classes", "in_channels", "image_size", "name"])
def test_a_model_argument_that_follows_from_the_dataset_is_refused(name: str) -> None:
    for factories in (True, False):
        with pytest.raises(
            ConfigError, match=rf"model_args\.{name} = 3: follows from the dataset\. Leave it"
        ):
            preflight.check_names(RunConfig(model_args={name: 3}), factories=factories)


def test_a_name_that_is_no_factory_is_one_clear_error() -> None:
    with pytest.raises(
        ModelError, match=r"model = \.\./etc:passwd: not of the form package\.module:callable"
    ):
        preflight.check_names(RunConfig(model="../etc:passwd"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": ["block1.0", "blok1.1"]}, r"keep = blok1\.1: no layer .* Did you mean block1\.1\?"),
        ({"layers": {"block1.*": 0.3, "layer4.*": 0}}, r"layers = layer4\.\*=0: no layer has such a name"),
    ],
)
def test_a_pattern_without_a_layer_is_found_before_any_training(
    options: dict[str, Any], message: str
) -> None:
    config = RunConfig(model="densenet40", model_args={"depth": 10}, **options)
    with pytest.raises(ConfigError, match=message):
        preflight.check_names(config)


def test_patterns_with_layers_pass() -> None:
    options: dict[str, Any] = {"keep": ["stem"], "layers": {"block?.*.bn": 0.3}}
    preflight.check_names(RunConfig(model="densenet40", model_args={"depth": 10}, **options))


def test_a_network_that_this_machine_cannot_build_has_no_patterns_to_check() -> None:
    preflight.check_names(RunConfig(model="somewhere.else:net", keep=("stem",)), factories=False)
    preflight.check_names(RunConfig(model="vgg-a", image_size=8, keep=("stem",)))  # it needs larger images
