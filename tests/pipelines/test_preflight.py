"""A mistake is found before the first step starts."""

from __future__ import annotations

from pathlib import Path

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
